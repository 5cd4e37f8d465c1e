"""The one training loop that all networks share; resumable work; curves."""
