"""The stages an image passes, one file each, in this order: decode, prepare, segment, score, write."""
