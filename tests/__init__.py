"""Tests: unit (no process), system (real tools), boot (QEMU)."""
