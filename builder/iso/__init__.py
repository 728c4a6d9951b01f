"""The hybrid ISO: file tree, El Torito, MBR and GPT, in one file for disc and stick."""
