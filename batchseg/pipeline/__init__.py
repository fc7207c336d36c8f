"""The jobs: run, evaluate and night, from the source to the record."""
