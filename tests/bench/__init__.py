"""The benchmark: what ``ci/bench`` runs. Ratios against peers in one run; never a test."""
