"""Preprocessing: what is done to an image before a model sees it, in words that are part of every fingerprint."""

# What workers/images/decode.py does to an image before a model sees it. Interpolation alone moves embeddings as far as
# cosine .983, so this text is part of the fingerprint: a change of the steps there must change the words here.
PREPROCESSING = (
    "RGB 0-255, transparency on white, EXIF orientation applied, JPEG reduced while the short side stays 2x, "
    "stretched to a square, area down, linear up"
)
# What the article does: decode all pixels, and keep those that a linear resize picks.
STRICT_PREPROCESSING = (
    "RGB 0-255, transparency on white, EXIF orientation applied, decoded whole, stretched to a square, linear"
)
# What lookalike did before it looked at transparency: jobs that were begun so continue so.
OPAQUE_PREPROCESSING = PREPROCESSING.replace("transparency on white", "alpha dropped")
STRICT_OPAQUE_PREPROCESSING = STRICT_PREPROCESSING.replace("transparency on white", "alpha dropped")
REDUCED, STRICT = "reduced", "strict"
DECODES = (REDUCED, STRICT)
"""The ways that a new job may ask for."""
REDUCED_OPAQUE, STRICT_OPAQUE = "reduced-opaque", "strict-opaque"
PREPROCESSING_OF = {
    REDUCED: PREPROCESSING,
    STRICT: STRICT_PREPROCESSING,
    REDUCED_OPAQUE: OPAQUE_PREPROCESSING,
    STRICT_OPAQUE: STRICT_OPAQUE_PREPROCESSING,
}
