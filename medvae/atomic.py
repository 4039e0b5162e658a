"""Write files atomically: a file is complete or does not exist."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from medvae.errors import WriteError

__all__ = ["write_bytes", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 by means of ``write_bytes``."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, flush it to disk and rename it.

    Raises:
        WriteError: If the file system refuses; an existing file at ``path`` is left unchanged.
    """
    # Processes of several machines may write the same file at once.
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
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
