"""ONNX files as models: what a file says of itself, and what of its input and output has to be named."""
