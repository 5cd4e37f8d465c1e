"""The published sizes rehearsed and measured with random weights; no stage imports this."""
