"""Find the files below paths, report all that cannot be accessed, and recognise names of masks."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medvae.errors import ReadError

__all__ = [
    "FileReport",
    "Found",
    "Outcome",
    "Paths",
    "as_paths",
    "file_identity",
    "find_files",
    "is_mask_folder",
    "is_mask_name",
    "natural_key",
    "without_mask_word",
]

Outcome = Literal["read", "skipped", "refused"]

Paths = str | Path | Iterable[str | Path]
"""One file or folder, or several."""

Identity = tuple[int, int] | str

_MASK_FOLDERS = {"mask", "masks", "label", "labels", "labelstr", "labelsts", "segmentations"}

# Only the last suffix may contain digits: in ``x_mask.t1.png`` the word is not at the end.
_MASK_WORD_AND_SUFFIXES = re.compile(
    r"[-_.](seg|segmentation|gt|masks?|labels?)(\.[a-z]+)*(\.[a-z][a-z0-9]{0,4})?$", re.IGNORECASE
)


@dataclass(frozen=True)
class FileReport:
    """The outcome for one file.

    Attributes:
        reason: Why the file was not read; for a file that was read, any remark about it.
    """

    path: Path
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True)
class Found:
    """A file to be examined.

    Attributes:
        inside: Path relative to the given folder; only the name if the file itself was given.
        named: Whether the file itself was given.
    """

    path: Path
    inside: Path
    named: bool


def as_paths(paths: Paths) -> list[Path]:
    """Return one path, or several, as a list."""
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def find_files(
    paths: Iterable[Path], *, every_name: bool = False
) -> tuple[list[Found], list[FileReport]]:
    """Return the regular files at and below ``paths``, and reports on everything else there.

    Links to files and folders are followed. A folder is visited only once, however many links lead
    to it, so that loops terminate. Whatever cannot be accessed (an unreadable folder, a broken
    link) is refused; whatever is found again, or is not a regular file, is skipped.

    Args:
        paths: Files and folders to search.
        every_name: Whether to return a file under each of its names. By default, links and hard
            links to a file that has already been found are skipped.

    Raises:
        ReadError: If a given path does not exist.
    """
    walk = _Walk(every_name)
    for path in paths:
        path = Path(os.path.abspath(path))  # noqa: PTH100  # links must stay as they were given
        if not os.path.lexists(path):
            raise ReadError(f"{path}: there is no such file or folder")
        walk.visit(path, path)
    walk.found.sort(key=lambda found: natural_key(found.path))
    return walk.found, walk.reports


def file_identity(path: Path) -> Identity:
    """Return the identity that all names of a file or folder share: its device and inode."""
    status = path.stat()
    # Some network file systems have no inode numbers.
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Return a sort key that places ``slice10`` after ``slice9``."""
    parts = re.split(r"([0-9]+)", str(path))
    return [(int(part), part) if i % 2 else (0, part) for i, part in enumerate(parts)]


class _Walk:
    def __init__(self, every_name: bool) -> None:
        self.found: list[Found] = []
        self.reports: list[FileReport] = []
        self._every_name = every_name
        self._seen: dict[Identity | Path, Path] = {}

    def visit(self, path: Path, root: Path) -> None:
        """Visit ``path`` and everything below it, without recursion, as folders can nest deeply."""
        waiting = [path]
        while waiting:
            path = waiting.pop()
            try:
                mode = path.stat().st_mode
                if self._seen_before(path, stat.S_ISDIR(mode)):
                    continue
                if stat.S_ISDIR(mode):
                    waiting.extend(_entries(path))
                elif stat.S_ISREG(mode):
                    inside = path.relative_to(root) if path != root else Path(path.name)
                    self.found.append(Found(path, inside, named=path == root))
                else:
                    self._report(path, "skipped", "it is not a regular file")
            except OSError as error:
                # Unlike Path.is_symlink, os.path.islink accepts names that are too long.
                if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114
                    reason = "it is a broken link"
                else:
                    reason = f"it cannot be read: {error.strerror or error}"
                self._report(path, "refused", reason)

    def _seen_before(self, path: Path, folder: bool) -> bool:
        identity = path if self._every_name and not folder else file_identity(path)
        first = self._seen.setdefault(identity, path)
        if first is path:
            return False
        if first != path:
            what = "folder" if folder else "file"
            self._report(
                path, "skipped", f"it is the same {what} as {first}, which was found before"
            )
        return True

    def _report(self, path: Path, outcome: Outcome, reason: str) -> None:
        self.reports.append(FileReport(path, outcome, reason))


def _entries(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        # The last one listed is visited first.
        yield from sorted((Path(entry.path) for entry in entries), reverse=True)


def is_mask_name(name: str) -> bool:
    """Return whether a file name, such as ``scan_seg.nii.gz``, denotes a mask."""
    return _MASK_WORD_AND_SUFFIXES.search(name) is not None


def is_mask_folder(name: str) -> bool:
    """Return whether a folder name, such as ``labelsTr``, denotes a folder of masks."""
    return name.lower() in _MASK_FOLDERS


def without_mask_word(name: str) -> str:
    """Return the name of a mask without the word that marks it as one and all that follows."""
    return _MASK_WORD_AND_SUFFIXES.sub("", name)
