"""What a command left behind and what it said, as tests of all commands look at it."""

from __future__ import annotations

import resource
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result

__all__ = ["monai_bundle", "only_error", "room_for", "told", "tree"]


def told(result: Result, code: int) -> str:
    """Return the one line that says what is wrong, of a command that ended with this exit code."""
    assert result.exit_code == code, result.output
    return only_error(result.stderr)


def only_error(text: str) -> str:
    """Return the one line of error in what a command wrote, usage apart."""
    errors = [line for line in text.splitlines() if not line.startswith(("Usage", "Try"))]
    (line,) = filter(None, errors)
    assert line.startswith("Error: ")
    assert "should not happen" not in line
    return line


def tree(folder: Path) -> dict[str, bytes]:
    """Return the content of all files by their path in a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def monai_bundle(*arguments: str) -> None:
    """Run ``python -m monai.bundle`` in this process, which has imported what it needs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["monai.bundle", *arguments])
        runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes, as a disk without room would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
