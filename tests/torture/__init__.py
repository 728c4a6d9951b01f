"""Torture: what no person would do to a capture on purpose, done at random and many times."""
