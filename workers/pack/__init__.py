"""Write a pack: read images, make them smaller, put them into tars."""
