"""The networks as Keras models: what names stand for, their weights, and the levels of their features."""
