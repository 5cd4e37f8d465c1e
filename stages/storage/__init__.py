"""Many small files as a few large ones."""
