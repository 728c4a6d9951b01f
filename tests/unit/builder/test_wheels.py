"""Wheels on the medium: nothing of them depends on the host that installed them."""

from __future__ import annotations

from builder.rootfs.wheels import without_programs


def test_a_record_names_no_program_of_this_host() -> None:
    record = (
        "../../bin/typer,sha256=abc,220\n"
        "bin/other,sha256=abc,220\n"
        "typer/bin/kept.py,sha256=abc,1\n"
        "typer/binary.py,sha256=abc,1\n"
    )
    assert without_programs(record) == "".join(record.splitlines(keepends=True)[2:])
