"""Write files atomically: a file is complete or does not exist."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from medvae.errors import WriteError

__all__ = ["write_bytes", "write_files", "write_json", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 by means of ``write_bytes``."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, content: object, indent: int | None = None) -> None:
    """Write a JSON file by means of ``write_bytes``."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


def write_bytes(path: Path, data: bytes) -> None:
    """Write one file by means of ``write_files``."""
    write_files({path: data})


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write files under temporary names, flush them to disk, and rename all once all are complete.

    Raises:
        WriteError: If the file system refuses; existing files are left unchanged.
    """
    # Processes of several machines may write the same file at once.
    token = secrets.token_hex(4)
    parts = {path: path.with_name(f".{path.name}.{token}.part") for path in files}
    path = Path()
    try:
        try:
            for path, data in files.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                with parts[path].open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            for path, part in parts.items():
                part.replace(path)
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror}") from error
