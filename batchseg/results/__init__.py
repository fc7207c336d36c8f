"""The results folder and the record of a run."""
