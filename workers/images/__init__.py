"""Read and decode images: from the bytes of a file to pixels, or to the reason why not."""
