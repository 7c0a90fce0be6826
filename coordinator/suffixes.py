"""Suffixes: by which a file is listed as an image, and by which one that is not listed is counted by its own name."""

from typing import Final

# RAW files of cameras, which are read where the extra `formats` is installed.
RAW_SUFFIXES: Final = frozenset(
    [
        ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos",
        ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
    ]
)  # fmt: skip
# What is decoded, and cameras, browsers and archives write. Other files are counted, not listed.
IMAGE_SUFFIXES: Final = RAW_SUFFIXES | frozenset(
    [
        ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".jps", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib",
        ".tif", ".tiff", ".gif", ".avif", ".avifs", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf",
        ".jpx", ".pbm", ".pgm", ".ppm", ".pnm", ".pfm", ".psd", ".tga", ".dds", ".pcx", ".qoi", ".ico", ".icns",
        ".jxl",
    ]
)  # fmt: skip

PICTURE_SUFFIXES: Final = frozenset(
    [
        # Pictures that are not decoded here.
        ".heics", ".jxr", ".wdp", ".hdp", ".psb",
        ".cur", ".pam", ".exr", ".hdr", ".pic", ".svg", ".svgz", ".eps", ".ai", ".pdf",
        ".djvu", ".xcf", ".kra", ".ora", ".xbm", ".xpm", ".sgi", ".rgb", ".ras", ".sun", ".wmf", ".emf", ".flif",
        ".bpg", ".jng", ".mng", ".dpx", ".cin", ".fits", ".fit", ".dcm", ".nii", ".jls", ".j2p", ".jpm", ".jph", ".iff",
        # Camera RAW of kinds that are seldom, or whose heads tell nothing.
        ".ari", ".bay", ".cap", ".dcs", ".drf", ".gpr", ".k25", ".mdc", ".ptx", ".r3d", ".raw",
        # Moving pictures.
        ".3g2", ".3gp", ".asf", ".avi", ".flv", ".insv", ".lrv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
        ".mpg", ".mts", ".mxf", ".ogv", ".vob", ".webm", ".wmv",
    ]
)  # fmt: skip
"""Files that show something, and that no listing takes: each kind is counted by its name, however many there are."""
