"""Disks: which there are, how they are divided, reading them, and the only way to write one."""
