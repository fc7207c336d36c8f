"""Masks for other tools: each format in a file of its own, and the list of them in `formats`."""
