"""Models: what computes embeddings, on Keras or OpenVINO, their weights and exports."""
