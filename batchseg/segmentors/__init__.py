"""What holds a model."""
