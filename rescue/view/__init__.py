"""The view: an image, or a disk, seen as read-only files that any program can open."""
