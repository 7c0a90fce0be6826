"""Formats that need more than OpenCV: camera RAW, floats, icons, JPEG XL, transparency, PNG, WebP, Pillow."""
