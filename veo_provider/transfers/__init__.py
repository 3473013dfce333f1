"""What stores."""
