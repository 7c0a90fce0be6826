"""Packing many small image files into tars: the list of them, their names, the process."""
