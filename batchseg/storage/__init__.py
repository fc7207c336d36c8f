"""Places, large sets of names, bytes by URI, and the lock of a folder."""
