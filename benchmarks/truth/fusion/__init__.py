"""What fusion of several levels of a model finds, beside the model as it is."""
