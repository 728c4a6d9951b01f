"""The stick: two system slots, one switch, and a data partition that an update leaves alone."""
