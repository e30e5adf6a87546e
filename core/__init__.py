"""Small helpers that know neither faces nor networks: files, pictures, settings, callbacks."""
