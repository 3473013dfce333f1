"""What observes a running segment: its progress, and the balance of its account."""
