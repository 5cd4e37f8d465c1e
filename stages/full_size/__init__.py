"""What surrounds the full size: published weights fetched, sizes rehearsed and measured; no stage imports this."""
