"""The source: a folder or a manifest as a stream of listing tables, and the plan of what is computed."""
