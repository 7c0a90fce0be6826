"""Learn the fusion of a model's levels from altered copies of a job's own images, and measure whether it helps."""
