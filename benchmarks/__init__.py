"""Every figure that the documentation claims, each with the one command that measures it."""
