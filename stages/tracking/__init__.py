"""What MLflow and git keep of runs: never read by a stage's computation."""
