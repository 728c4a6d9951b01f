"""The screens: the flows drawn over the whole terminal with Textual, by keys alone."""
