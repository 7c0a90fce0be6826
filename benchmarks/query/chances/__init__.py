"""Measure how often it is true what a search says of a chance, and of nothing above chance."""
