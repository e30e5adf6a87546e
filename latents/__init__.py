"""What is done with codes, nothing trained: sampling, mixing, directions, appearance, files."""
