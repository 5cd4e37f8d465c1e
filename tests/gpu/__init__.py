"""What a machine with a card runs in one go: the full size with random weights, measured (docs/full_size.md)."""
