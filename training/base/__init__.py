"""A base of one's own: generator, discriminator, mapping and encoder from a folder of portraits."""
