"""What people look at: the listening page, plots, and the words that explain them."""
