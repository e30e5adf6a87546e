"""Optional guides of fine-tuning: pulls from networks that the user has the weights of. See `protocol`."""
