"""Limits on what runs at the same time. This package knows nothing of videos and imports no other one."""
