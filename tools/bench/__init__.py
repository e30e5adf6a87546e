"""Measurements and makers: what is run by hand to fill docs/ and workflows/, never by a user."""
