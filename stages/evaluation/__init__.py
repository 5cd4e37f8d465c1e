"""Distances, scores, confidence intervals and the listening page."""
