"""Kinds of image files that need more than OpenCV: icons, transparency, PNG, WebP, Pillow."""
