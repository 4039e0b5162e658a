"""Find the slice or the series that a label record refers to."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import TypeVar

from medvae.records import Slice

# Digits alone are not a suffix, because UIDs contain dots too.
_SUFFIX = re.compile(r"(\.nii)?\.[a-z][a-z0-9]{0,4}$", re.IGNORECASE)

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class UnusableError(Exception):
    """Error for a record that cannot be used; its text becomes a `Problem`."""


class UnplacedError(UnusableError):
    """Error for a record that cannot be used because its slice is unknown.

    Attributes:
        among: Slices to which the record may belong; None for all that the file refers to.
    """

    def __init__(self, what: str, among: Sequence[Slice] | None = None) -> None:
        super().__init__(what)
        self.among = among


def stem(name: str) -> str:
    """Return a file's name without its suffix, where ``.nii.gz`` is one suffix."""
    return _SUFFIX.sub("", name)


class SliceIndex:
    """Index of slices by key, UID, series and file.

    A file is found by the longest run of equal folders at the end of its path, and only if that
    leaves one file. ``p3/001.png`` never matches ``p1/001.png``: if folders differ, at least the
    last one must be the same. Suffixes of files may differ (``.dcm`` exported as ``.png``).

    Attributes:
        stacks: Slices of each series.
    """

    def __init__(self, stacks: Iterable[Sequence[Slice]]) -> None:
        self.stacks = [stack for stack in stacks if stack]
        slices = [slice_ for stack in self.stacks for slice_ in stack]
        self._keys = _grouped((s.key, s) for s in slices if s.key)
        self._uids = _grouped((s.source.uid, s) for s in slices if s.source.uid)
        self._series = _grouped((s.source.series_uid, s) for s in slices if s.source.series_uid)
        self._files = _grouped((_plain(s.source.path), s) for s in slices)
        self._stems = _grouped((stem(path.name), path) for path in self._files)
        self._places = _grouped((path.parent / stem(path.name), path) for path in self._files)

    def without(self, files: Collection[Path]) -> SliceIndex:
        """Return an index that leaves out the slices of these files."""
        unwanted = {_plain(path) for path in files}
        return SliceIndex(
            [s for s in stack if _plain(s.source.path) not in unwanted] for stack in self.stacks
        )

    def of_file(self, path: Path) -> Sequence[Slice]:
        """Return the slices of a file."""
        return self._files.get(_plain(path), ())

    def of_uid(self, uid: str) -> Sequence[Slice]:
        """Return the slices with this SOPInstanceUID; several for a multi-frame image."""
        return self._uids.get(uid, ())

    def of_series_uid(self, uid: str) -> Sequence[Slice]:
        """Return the slices with this SeriesInstanceUID."""
        return self._series.get(uid, ())

    def files(self, name: str, base: Path) -> list[Path]:
        """Return the files that a path may refer to: none, one, or several if it is ambiguous.

        Args:
            name: Path as given in the label record.
            base: Folder to which the path is relative.
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
        """Return the files whose names start with ``beginning`` and a separator."""
        pattern = re.compile(re.escape(beginning) + r"[_.-]")
        return [p for name, paths in self._stems.items() if pattern.match(name) for p in paths]

    def slice(self, name: str, base: Path, key: str = "", frame: int | None = None) -> Slice:
        """Return the slice that an image record refers to.

        Args:
            name: Path or SOPInstanceUID, with or without a suffix.
            base: Folder to which a path is relative.
            key: Key of the slice, if the record has it.
            frame: Index of the slice in a file with several slices.

        Raises:
            UnusableError: The record matches no slice, or several.
        """
        by_key = self._keys.get(key, ())
        if len(by_key) == 1:
            return by_key[0]
        return _pick_frame(_of_name(self._uids, name) or self.named(name, base), frame)

    def named(self, name: str, base: Path) -> Sequence[Slice]:
        """Return the slices of the one file that a path refers to.

        Raises:
            UnusableError: The path matches no file, or several.
        """
        files = self.files(name, base)
        if not files:
            raise UnusableError(f"{name!r} matches no slice; ignored")
        slices = [slice_ for file in files for slice_ in self.of_file(file)]
        if len(files) > 1:
            what = f"{name!r} matches {len(files)} files equally well; ignored"
            raise UnplacedError(what, slices)
        return slices

    def series(self, name: str, base: Path) -> Sequence[Slice]:
        """Return the slices that a SeriesInstanceUID, a SOPInstanceUID or a path refers to.

        Raises:
            UnusableError: The name matches no file, or several.
        """
        by_uid = _of_name(self._series, name) or _of_name(self._uids, name)
        return by_uid or self.named(name, base)


def _of_name(slices: Mapping[str, list[Slice]], name: str) -> Sequence[Slice]:
    """Return the slices of a UID, which may be the name of a file."""
    return slices.get(name) or slices.get(stem(PurePosixPath(name).name)) or ()


def _grouped(pairs: Iterable[tuple[K, T]]) -> Mapping[K, list[T]]:
    groups: defaultdict[K, list[T]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups


def _plain(path: Path) -> Path:
    # Not resolved, because label files refer to the names in a tree of links.
    return Path(os.path.normpath(path.absolute()))


def _run(wanted: Sequence[str], parts: Sequence[str]) -> int:
    """Return the number of equal parts at the end of two paths with the same stem."""
    above = zip(wanted[-2::-1], parts[-2::-1], strict=False)
    return 1 + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], above))


def _pick_frame(slices: Sequence[Slice], frame: int | None) -> Slice:
    chosen = [s for s in slices if frame in (None, s.source.frame)]
    if not chosen:
        raise UnusableError(f"frame {frame} does not exist in its file; ignored")
    if len(chosen) > 1:
        what = f"frame {frame} refers to {len(chosen)} slices of its file; ignored"
        if frame is None:
            what = f"refers to a file of {len(slices)} slices without a `frame`; ignored"
        raise UnplacedError(what, chosen)
    return chosen[0]
