"""What a compaction is made of: which partitions it replaces, their rows, and what is left over of them."""
