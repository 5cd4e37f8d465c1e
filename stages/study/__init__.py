"""The study of A against B: arms and seeds, what they add up to, and what it says of each claim."""
