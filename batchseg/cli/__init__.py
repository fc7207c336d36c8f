"""The command line, a file a command; show/ is what is printed."""
