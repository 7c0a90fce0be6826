"""Show results that take more than lines: HTML pages that any browser opens from disk, and groups of images."""
