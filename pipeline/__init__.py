"""A whole job in a few calls: what nodes and commands share."""
