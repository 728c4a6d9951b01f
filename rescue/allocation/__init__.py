"""Which bytes of a volume hold data, and so must be captured."""
