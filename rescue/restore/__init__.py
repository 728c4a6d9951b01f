"""Restore: an image goes back onto a disk. Plan (a value), then a short pipeline."""
