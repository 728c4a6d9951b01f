"""The command ``rescue`` with checkpoints as often as a test needs them.

driver.py SECONDS WORDS...
"""

from __future__ import annotations

import sys

from rescue.cli import main
from rescue.image import writer

writer.CHECKPOINT_SECONDS = float(sys.argv[1])
sys.argv[:2] = ["rescue"]
main.main()
