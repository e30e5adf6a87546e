"""Pictures to learn from: read, aligned, sorted out, augmented."""
