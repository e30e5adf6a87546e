"""Commands that come with a clone of the repository only."""
