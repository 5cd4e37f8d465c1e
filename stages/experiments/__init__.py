"""Fusion, experiment A's projection, experiment B's alignment, and their losses."""
