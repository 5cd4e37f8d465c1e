"""A language model asked for decompositions: conversation, pace, bill, kept replies and batches."""
