"""Claims: several processes fill one table, and none makes what another is making."""

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
    """Claim what is about to be made; what a process holds is free again when it dies.

    Whoever gets a claim looks first whether the thing is there by now.

    Args:
        path: what is made.
        wait: until another process is done with it.

    Yields:
        Whether it is this process's to make.

    Raises:
        WriteError: the file system refuses.
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
