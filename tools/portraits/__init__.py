"""How the styles and fast stylizers of the shipped set, which was trained from photographs, were made."""
