"""Upkeep of images that exist: keys, merging a chain, pruning a folder."""
