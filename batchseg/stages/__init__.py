"""The stages an image passes, one file each, in this order: source, decode, prepare, segment, score, sink."""
