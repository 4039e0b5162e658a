"""Claims, by which processes that fill one table avoid making the same thing twice."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from medvae.errors import WriteError

__all__ = ["claim"]


@contextmanager
def claim(path: Path, *, wait: bool) -> Iterator[bool]:
    """Claim a path before it is made; the claim is released when its process dies.

    A process that gets a claim must first check whether the path exists by now.

    Args:
        path: Path to be made.
        wait: Whether to wait for another process that is making it.

    Yields:
        Whether this process holds the claim.

    Raises:
        WriteError: The claim cannot be written.
    """
    place = path.with_name(f".{path.name}.claim")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = place.open("w", encoding="utf-8")
    except OSError as error:
        raise WriteError(f"{place}: cannot be written: {error.strerror}") from error
    with file:
        free = _lock(file, path, wait)
        yield free
        if free:
            place.unlink(missing_ok=True)


def _lock(file: IO[str], path: Path, wait: bool) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            return False
        print(f"{path}: another process is making it: waiting", file=sys.stderr, flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    return True
