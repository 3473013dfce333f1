"""Waiting for a generation: when to poll, when to give up, and the HTTP session that all waits share."""
