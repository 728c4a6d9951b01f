"""A capture without the check of what was compressed: its price is the difference.

No command can turn that check off; this asks the library.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rescue.capture.encode import Check
from rescue.capture.pipeline import CaptureOptions, execute
from rescue.capture.plan import plan_capture
from rescue.core.progress import Silent


def main() -> None:
    """``unchecked.py VOLUME IMAGE``."""
    plan = plan_capture(Path(sys.argv[1]))
    execute(plan, Path(sys.argv[2]), CaptureOptions(check=Check.NONE), Silent())


if __name__ == "__main__":
    main()
