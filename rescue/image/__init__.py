"""The image format: docs/format.md as code. Structures on disk are kept apart from memory."""
