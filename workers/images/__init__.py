"""Reading and decoding images: the bytes of a file to pixels, or why not."""
