"""The restore shell: a menu over the commands, for a person in trouble at a dead machine."""
