"""Pictograms and image checks."""
