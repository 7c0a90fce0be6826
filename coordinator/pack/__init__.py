"""Pack many small image files into tars: their list, their names, the process."""
