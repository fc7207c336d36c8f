"""A running Ray cluster: what a job takes along, how it is submitted, and how it is followed."""
