"""Writing files that are there as a whole or not at all, and over nothing."""

from __future__ import annotations

import os
from pathlib import Path

from medvae.errors import UsageProblem, WriteError

__all__ = ["check_empty", "write_bytes", "write_text"]


def check_empty(folder: Path) -> None:
    """Make sure that a folder for results is empty, or not there yet.

    Raises:
        UsageProblem: there is something, or it cannot be looked at.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise UsageProblem(f"{folder}: is no folder: give another")
        if folder.exists() and any(folder.iterdir()):
            raise UsageProblem(f"{folder}: is not empty, and nothing is overwritten: give another")
    except OSError as error:
        raise UsageProblem(f"{folder}: cannot be used: {error.strerror}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, as ``write_bytes`` does."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, flush it to the disk and rename it.

    Raises:
        WriteError: when the file system refuses; what was at ``path`` is still there.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror}") from error
