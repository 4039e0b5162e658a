"""Find the files below paths, report all that cannot be accessed, and recognise names of masks."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
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
    found: list[Found] = []
    reports: list[FileReport] = []
    seen: dict[Identity | Path, Path] = {}
    for given in paths:
        root = Path(os.path.abspath(given))  # noqa: PTH100  # links must stay as they were given
        if not os.path.lexists(root):
            raise ReadError(f"{root}: there is no such file or folder")
        waiting = [root]  # folders can nest too deeply for recursion
        while waiting:
            path = waiting.pop()
            try:
                mode = path.stat().st_mode
                what = "folder" if stat.S_ISDIR(mode) else "file"
                identity = path if every_name and what == "file" else file_identity(path)
                first = seen.setdefault(identity, path)
                if first != path:
                    reason = f"it is the same {what} as {first}, which was found before"
                    reports.append(FileReport(path, "skipped", reason))
                elif first is not path:
                    continue  # it was given twice
                elif what == "folder":
                    waiting += _entries(path)
                elif stat.S_ISREG(mode):
                    inside = path.relative_to(root) if path != root else Path(path.name)
                    found.append(Found(path, inside, named=path == root))
                else:
                    reports.append(FileReport(path, "skipped", "it is not a regular file"))
            except OSError as error:
                reports.append(FileReport(path, "refused", _why(path, error)))
    found.sort(key=lambda file: natural_key(file.path))
    return found, reports


def file_identity(path: Path) -> Identity:
    """Return the identity that all names of a file or folder share: its device and inode."""
    status = path.stat()
    # Some network file systems have no inode numbers.
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Return a sort key that places ``slice10`` after ``slice9``."""
    parts = re.split(r"([0-9]+)", str(path))
    return [(int(part), part) if i % 2 else (0, part) for i, part in enumerate(parts)]


def _why(path: Path, error: OSError) -> str:
    # Unlike Path.is_symlink, os.path.islink accepts names that are too long.
    if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114
        return "it is a broken link"
    return f"it cannot be read: {error.strerror or error}"


def _entries(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        # The last one listed is visited first.
        return sorted((Path(entry.path) for entry in entries), reverse=True)


def is_mask_name(name: str) -> bool:
    """Return whether a file name, such as ``scan_seg.nii.gz``, denotes a mask."""
    return _MASK_WORD_AND_SUFFIXES.search(name) is not None


def is_mask_folder(name: str) -> bool:
    """Return whether a folder name, such as ``labelsTr``, denotes a folder of masks."""
    return name.lower() in _MASK_FOLDERS


def without_mask_word(name: str) -> str:
    """Return the name of a mask without the word that marks it as one and all that follows."""
    return _MASK_WORD_AND_SUFFIXES.sub("", name)
