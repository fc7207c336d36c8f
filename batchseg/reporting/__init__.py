"""The page: what a results folder tells, as one self-contained HTML file."""
