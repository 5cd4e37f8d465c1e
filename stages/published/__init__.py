"""Published checkpoints: how each becomes this project's networks, under the names that they have here."""
