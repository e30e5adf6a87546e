"""The fast stylizer: what it learns from, and its training."""
