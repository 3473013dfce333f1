"""What became of each image of a batch."""
