"""Published weights: what a preset needs and where it is from, reading it without running code, fitting it exactly."""
