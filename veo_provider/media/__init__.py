"""Checks and converts images before they are sent, and checks videos while they are stored."""
