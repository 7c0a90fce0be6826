"""The models that compute embeddings, on Keras or OpenVINO, with their weights and exports."""
