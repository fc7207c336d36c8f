"""The models of transformers: their files, their preparation, and the loaded network."""
