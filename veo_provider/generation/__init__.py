"""One video: what to do next, submitting it, and storing it."""
