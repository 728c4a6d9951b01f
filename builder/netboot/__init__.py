"""Files for a server from which machines start over the network."""
