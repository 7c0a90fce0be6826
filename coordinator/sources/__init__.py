"""Where images come from: folders, lists, archives, WebDataset samples and URLs, in order."""
