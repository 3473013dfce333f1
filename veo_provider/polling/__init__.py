"""Waiting for a generation."""
