"""What decides bytes on disk: sample rate, hop, writers and shards; named in the deps of every stage that writes."""
