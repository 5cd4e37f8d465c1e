"""Readers of captioned audio and the built-in soundworld."""
