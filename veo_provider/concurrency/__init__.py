"""What holds concurrent work down: it knows nothing of videos, and imports nothing of this package."""
