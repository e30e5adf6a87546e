"""What a training or a stylisation did, for people."""
