"""Vectors made elsewhere: their files, layout, columns and length."""
