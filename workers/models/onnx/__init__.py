"""Run the model of an ONNX file in OpenVINO, and try it on pictures first."""
