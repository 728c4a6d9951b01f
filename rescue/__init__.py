"""Rescue: the imaging core and the restore shell.

An image is captured, verified and restored by the same few layers everywhere: on the rescue media
and on any Linux machine. ``rescue`` never imports ``builder``.
"""

__version__ = "0.1.0"
