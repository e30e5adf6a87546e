"""Where is a face? Networks that find faces, and the choice between them."""
