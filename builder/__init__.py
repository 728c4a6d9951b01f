"""Rescue builder: assembles bootable rescue media from Debian packages and this project."""
