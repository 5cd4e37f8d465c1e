"""Published checkpoints: what there is, how to fetch it, and how each becomes this project's networks."""
