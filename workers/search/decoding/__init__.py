"""Decode the images of queries in processes of their own."""
