"""What every layer stands on: errors, units, extents, processes, progress, digests."""
