"""What two pictures show alike where a transform lays them over each other: cells, their light, and colours."""
