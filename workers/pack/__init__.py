"""Writing a pack: images read, made smaller, put into tars."""
