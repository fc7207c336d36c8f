"""Old results held against new ones."""
