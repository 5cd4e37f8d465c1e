"""What cannot change a byte of an output: progress bars, devices, the cluster, where caches lie, how a stage starts."""
