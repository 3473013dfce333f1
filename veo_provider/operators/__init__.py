"""What spends money."""
