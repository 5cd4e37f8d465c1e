"""What a person runs beside the pipeline: the console command `bind-an-audio`."""
