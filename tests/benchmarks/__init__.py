"""Measurements beside peers and limits, run by hand: `python -m tests.benchmarks`. No test asks how long one takes."""
