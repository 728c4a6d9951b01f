"""The rescue root: Debian packages as a cached base layer, this project as a thin top layer."""
