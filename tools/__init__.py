"""For who maintains the pack: measurements, makers of help and workflows, and the training of the shipped networks."""
