"""Weights from files into networks: safetensors and pickles of which no code is run, each weight into its place."""
