"""Tests: unit (no process), system (real tools), boot (QEMU)."""

import pytest

# What a failed assertion of a helper compared is told, as it is for the tests themselves.
pytest.register_assert_rewrite("tests.boot", "tests.system")
