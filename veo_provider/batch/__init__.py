"""Many videos in one task."""
