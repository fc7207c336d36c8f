"""Bytes to arrays and back: headers, decoding, encoding."""
