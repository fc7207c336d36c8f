"""Figures from masks and tables, without a model."""
