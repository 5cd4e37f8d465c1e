"""Figures of the audio that every part of the code shares; Make-An-Audio's (Text-to-Audio/Make-An-Audio)."""

SAMPLE_RATE = 16_000
HOP_LENGTH = 256
VAE_DOWNSAMPLING = 8
