"""Several looks at one picture, decided together: windows, views, and the members of an ensemble."""
