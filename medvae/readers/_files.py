"""Finding files: every one below the paths that were given, each once, loops and all."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medvae.errors import ReadError
from medvae.readers._headers import Outcome

__all__ = ["FileReport", "Found", "find_files", "natural_key"]


@dataclass(frozen=True)
class FileReport:
    """What became of one file.

    Attributes:
        reason: why it was not read; for a file that was read, what is to be said about it.
    """

    path: Path
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True)
class Found:
    """A file to be looked at.

    Attributes:
        inside: its path below the folder that was given; its name, where it was given itself.
        named: whether it was given itself.
    """

    path: Path
    inside: Path
    named: bool


def find_files(paths: Iterable[Path]) -> tuple[list[Found], list[FileReport]]:
    """Return the regular files at and below ``paths``, and a report on all else there.

    Links are followed. A file or folder that has been come to already is not visited again.

    Raises:
        ReadError: a path that was given is not there.
    """
    walk = _Walk()
    for path in paths:
        path = Path(os.path.abspath(path))  # noqa: PTH100  # links must stay as they were given
        if not os.path.lexists(path):
            raise ReadError(f"{path}: there is no such file or folder")
        walk.visit(path, path)
    walk.found.sort(key=lambda found: natural_key(found.path))
    return walk.found, walk.reports


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Order paths so that ``slice10`` comes after ``slice9``."""
    parts = re.split(r"([0-9]+)", str(path))
    return [(int(part), part) if i % 2 else (0, part) for i, part in enumerate(parts)]


class _Walk:
    def __init__(self) -> None:
        self.found: list[Found] = []
        self.reports: list[FileReport] = []
        self._seen: dict[Path, Path] = {}

    def visit(self, path: Path, root: Path) -> None:
        """Visit what is at ``path``, without recursion: folders can be nested deeply."""
        waiting = [path]
        while waiting:
            path = waiting.pop()
            try:
                mode = path.stat().st_mode
                if self._seen_before(path):
                    continue
                if stat.S_ISDIR(mode):
                    waiting.extend(_entries(path))
                elif stat.S_ISREG(mode):
                    inside = path.relative_to(root) if path != root else Path(path.name)
                    self.found.append(Found(path, inside, named=path == root))
                else:
                    self._report(path, "skipped", "it is not a regular file")
            except OSError as error:
                # Unlike Path.is_symlink, it bears names that are too long.
                link = os.path.islink(path)  # noqa: PTH114
                reason = "it is a link that leads nowhere" if link else error.strerror
                self._report(path, "refused", reason or str(error))

    def _seen_before(self, path: Path) -> bool:
        real = Path(os.path.realpath(path))
        first = self._seen.setdefault(real, path)
        if first is path:
            return False
        if first != path:
            self._report(path, "skipped", f"it is a link to {first}, which is visited already")
        return True

    def _report(self, path: Path, outcome: Outcome, reason: str) -> None:
        self.reports.append(FileReport(path, outcome, reason))


def _entries(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        # The last one listed is visited first.
        yield from sorted((Path(entry.path) for entry in entries), reverse=True)
