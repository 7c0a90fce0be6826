"""Where images come from: folders, lists, archives, webdataset samples and URLs, in order."""
