"""Verify: is every byte of an image what was written, and does it decode to what was captured."""
