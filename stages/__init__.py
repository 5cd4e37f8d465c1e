"""The stages of the pipeline and the rooms that they call."""
