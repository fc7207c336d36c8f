"""Counts that add, and every figure that follows from them."""
