"""The configuration: strict, frozen models, and how they are read from YAML and flags."""
