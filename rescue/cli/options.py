"""Arguments and options that several verbs share.

``readable=False``: typer would look whether a path can be read and call it a usage error. Whoever
opens the path says it better, with the right exit code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ImageArgument = Annotated[
    Path, typer.Argument(metavar="IMAGE", readable=False, help="The image (its first file).")
]
NewImageArgument = Annotated[
    Path, typer.Argument(metavar="IMAGE", readable=False, help="The image to make.")
]
SourceArgument = Annotated[
    Path, typer.Argument(metavar="SOURCE", readable=False, help="The disk to read.")
]
TargetArgument = Annotated[
    Path, typer.Argument(metavar="TARGET", readable=False, help="The disk to write.")
]
JobArgument = Annotated[
    Path | None, typer.Argument(metavar="FILE", readable=False, help="The job.")
]
PartitionOption = Annotated[
    list[int] | None,
    typer.Option("--partition", "-p", metavar="N", min=1, help="Only this one; repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
