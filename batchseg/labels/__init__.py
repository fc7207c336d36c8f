"""Label maps, and the files they are read from; builtin/ holds the well-known ones."""
