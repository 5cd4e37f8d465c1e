"""Decomposition of captions and text checks."""
