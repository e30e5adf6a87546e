"""The command line and the headless workflow runner."""
