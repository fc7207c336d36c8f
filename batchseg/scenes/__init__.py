"""Sample data with exact ground truth."""
