"""A trained run as one object that makes clips."""
