"""Several looks at a picture, and several models, that decide together."""
