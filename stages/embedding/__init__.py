"""The file of embeddings that training reads, and how well the pairs in it agree."""
