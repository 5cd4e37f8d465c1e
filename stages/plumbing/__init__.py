"""Params schema, MLflow tracking, progress and atomic files."""
