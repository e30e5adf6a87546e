"""Training of the networks this pack ships, from nothing, on rendered faces (`make assets`)."""
