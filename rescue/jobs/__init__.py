"""Work described before it is done: a verb's work as one call, and jobs read from TOML files."""
