"""Capture: a disk becomes an image. Plan (pure), then a short pipeline."""
