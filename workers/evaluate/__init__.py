"""Measure a build: recall, latency and accuracy, altered copies, the demo's photographs."""
