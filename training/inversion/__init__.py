"""From a picture to its latent: by an encoder, by search, by pivotal tuning; and the look of a reference."""
