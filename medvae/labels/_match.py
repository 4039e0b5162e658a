"""Finds the slice or the series that a label record speaks of."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from medvae.labels._problem import UnplacedError, UnusableError
from medvae.records import Slice

__all__ = ["SliceIndex", "stem"]

# Digits alone are no suffix: a UID has dots too.
_SUFFIX = re.compile(r"(\.nii)?\.[a-z][a-z0-9]{0,4}$", re.IGNORECASE)

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def stem(name: str) -> str:
    """Return a file's name without its suffix; ``.nii.gz`` is one suffix."""
    return _SUFFIX.sub("", name)


class SliceIndex:
    """Slices by their key, their UID, their series and their file.

    A file is found by the longest run of equal folders at the end of its path, and only where that
    leaves one file. ``p3/001.png`` never means ``p1/001.png``: where folders differ, at least the
    last one must be the same. Suffixes of files may differ (``.dcm`` exported as ``.png``).

    Attributes:
        stacks: the slices of each series.
    """

    def __init__(self, stacks: Iterable[Sequence[Slice]]) -> None:
        self.stacks = [stack for stack in stacks if stack]
        slices = [slice_ for stack in self.stacks for slice_ in stack]
        self._keys = _grouped((s.key, s) for s in slices)
        self._uids = _grouped((s.source.uid, s) for s in slices)
        self._series = _grouped((s.source.series_uid, s) for s in slices)
        self._files = _grouped((_plain(s.source.path), s) for s in slices)
        self._stems = _grouped((stem(path.name), path) for path in self._files)
        self._places = _grouped((path.parent / stem(path.name), path) for path in self._files)

    def without(self, files: Collection[Path]) -> SliceIndex:
        """Return an index that leaves out the slices of these files."""
        unwanted = {_plain(path) for path in files}
        return SliceIndex(
            [s for s in stack if _plain(s.source.path) not in unwanted] for stack in self.stacks
        )

    def has_file(self, path: Path) -> bool:
        """Tell whether slices come from this file."""
        return _plain(path) in self._files

    def of_file(self, path: Path) -> Sequence[Slice]:
        """Return the slices of a file."""
        return self._files[_plain(path)]

    def of_uid(self, uid: str) -> Sequence[Slice]:
        """Return the slices with a SOPInstanceUID: several for a multi-frame image."""
        return self._uids.get(uid, ()) if uid else ()

    def of_series_uid(self, uid: str) -> Sequence[Slice]:
        """Return the slices with a SeriesInstanceUID."""
        return self._series.get(uid, ()) if uid else ()

    def files(self, name: str, base: Path) -> list[Path]:
        """Return the files that a path may mean: none, one, or several that cannot be told apart.

        Args:
            name: the path as the label record gives it.
            base: the folder that it is relative to.
        """
        exact = _plain(base / name)
        if exact in self._files:
            return [exact]
        if in_place := self._places.get(exact.parent / stem(exact.name)):
            return in_place
        parts = [p for p in PurePosixPath(name.replace("\\", "/")).parts if p not in ("/", "..")]
        if not parts:
            return []
        runs = {path: _run(parts, path.parts) for path in self._stems.get(stem(parts[-1]), ())}
        longest = max(runs.values(), default=0)
        if longest < min(2, len(parts)):
            return []
        found = [path for path, run in runs.items() if run == longest]
        return [path for path in found if path.name == parts[-1]] or found

    def files_beginning(self, beginning: str) -> list[Path]:
        """Return the files named ``beginning``, a separator, and anything more."""
        pattern = re.compile(re.escape(beginning) + r"[_.-]")
        return [p for name, paths in self._stems.items() if pattern.match(name) for p in paths]

    def slice(self, name: str, base: Path, key: str = "", frame: int | None = None) -> Slice:
        """Return the slice that an image record means.

        Args:
            name: a path, or a SOPInstanceUID, with or without a suffix.
            base: the folder that a path is relative to.
            key: the key of the slice, where the record has it.
            frame: index of the slice in a file with several.

        Raises:
            UnusableError: when it is none of the slices, or may be several.
        """
        by_key = self._keys.get(key, ()) if key else ()
        if len(by_key) == 1:
            return by_key[0]
        return _pick_frame(self._of_image_uid(name) or self.of_file(self.file(name, base)), frame)

    def file(self, name: str, base: Path) -> Path:
        """Return the one file that a path means.

        Raises:
            UnusableError: when it is none, or may be several.
        """
        files = self.files(name, base)
        if not files:
            raise UnusableError(f"{name!r} matches no slice: not used")
        if len(files) > 1:
            among = [slice_ for file in files for slice_ in self.of_file(file)]
            raise UnplacedError(f"{name!r} matches {len(files)} files alike: not used", among)
        return files[0]

    def series(self, name: str, base: Path) -> Sequence[Slice]:
        """Return the slices that a SeriesInstanceUID, a SOPInstanceUID or a path means.

        Raises:
            UnusableError: when it is none, or may be several.
        """
        by_series = self.of_series_uid(name) or self.of_series_uid(_bare(name))
        return by_series or self._of_image_uid(name) or self.of_file(self.file(name, base))

    def _of_image_uid(self, name: str) -> Sequence[Slice]:
        return self.of_uid(name) or self.of_uid(_bare(name))


def _bare(name: str) -> str:
    return stem(PurePosixPath(name).name)


def _grouped(pairs: Iterable[tuple[K, T]]) -> Mapping[K, list[T]]:
    groups: defaultdict[K, list[T]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return dict(groups)


def _plain(path: Path) -> Path:
    # Not resolved: the names in a tree of links are what label files speak of.
    return Path(os.path.normpath(path.absolute()))


def _run(wanted: Sequence[str], parts: Sequence[str]) -> int:
    """Count the equal parts at the end of two paths whose stems are the same."""
    run = 1
    for one, other in zip(wanted[-2::-1], parts[-2::-1], strict=False):
        if one != other:
            break
        run += 1
    return run


def _pick_frame(slices: Sequence[Slice], frame: int | None) -> Slice:
    if frame is None and len(slices) > 1:
        what = f"means a file of {len(slices)} slices without `frame`: not used"
        raise UnplacedError(what, slices)
    chosen = [s for s in slices if frame is None or s.source.frame == frame]
    if not chosen:
        raise UnusableError(f"frame {frame} is none of the slices of its file: not used")
    if len(chosen) > 1:
        what = f"frame {frame} is {len(chosen)} slices of its file: not used"
        raise UnplacedError(what, chosen)
    return chosen[0]
