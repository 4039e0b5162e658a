"""Assembly of headers into studies: drop copies, and sort slices into series and studies."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from medvae.files import FileReport, Found
from medvae.readers._contract import Decoded, FileHeader, FileRefused
from medvae.readers._pixels import PixelLoader
from medvae.readers._stacks import ScannedSlice, Stack, geometry_flags, sort_stack
from medvae.readers._workers import Workers
from medvae.records import Series, Slice, Study, pseudonym

Order = tuple[str, str, tuple[int, int]]
"""Sort key of a series in its study: its name, type of image, orientation and time."""

_SAME_DIRECTION = 0.01
"""Direction cosines that differ by less than this (half a degree) count as equal."""

_SHARED_NAME = "an image in another series has the same SOPInstanceUID"


class Assembly:
    """The studies in a set of headers, and what became of each file.

    Args:
        headers: Files and their headers, in a fixed order.
        pool: Workers that decode the few slices that may be copies of each other.
        loader: Loader with which the slices decode their pixels.
        modality: Modality of files that do not state one.
    """

    def __init__(
        self,
        headers: Sequence[tuple[Found, FileHeader]],
        pool: Workers,
        loader: PixelLoader,
        modality: str | None,
    ) -> None:
        self._pool = pool
        self._loader = loader
        self._modality = modality
        self._paths = [found.path for found, _ in headers]
        _share_patients([header for _, header in headers])
        self._read: set[Path] = set()
        self._notes: dict[Path, str] = {}
        self._series: dict[tuple[str, str, str], list[tuple[Order, Series]]] = defaultdict(list)
        self._repeats = self._number_repeats(headers)
        members = [
            ScannedSlice(found.path, header, frame, *_patient(found, header))
            for found, header in headers
            for frame in header.frames
        ]
        self._claimed = _claimed_twice(members)
        series = defaultdict(list)
        for member in members:
            series[_series_id(member)].append(member)
        for together in series.values():
            self._add_series(together)

    def studies(self) -> tuple[Study, ...]:
        """Return the studies, in an order that does not depend on the paths of the files."""
        studies = [
            Study(key, group, origin, tuple(s for _, s in sorted(series, key=lambda s: s[0])))
            for (key, group, origin), series in self._series.items()
        ]
        return tuple(sorted(studies, key=lambda study: study.key))

    def reports(self) -> list[FileReport]:
        """Return a report on each file, which is read if at least one of its slices is used."""
        return [
            FileReport(path, "read" if path in self._read else "refused", self._notes.get(path, ""))
            for path in self._paths
        ]

    def _number_repeats(self, headers: Sequence[tuple[Found, FileHeader]]) -> dict[Path, int]:
        """Number the files that have the same content and no SOPInstanceUID."""
        first: dict[str, Path] = {}
        count: Counter[str] = Counter()
        repeats = {}
        for found, header in headers:
            if header.named:
                continue
            repeats[found.path] = count[header.uid]
            count[header.uid] += 1
            if first.setdefault(header.uid, found.path) != found.path:
                self._notes[found.path] = f"it has the same content as {first[header.uid]}"
        return repeats

    def _add_series(self, members: Sequence[ScannedSlice]) -> None:
        """Add slices that share series, shape and type of image, separated by orientation."""
        name = self._series_name(members)
        try:
            once, twins = self._drop_twins(members)
        except FileRefused as reason:
            self._notes.update((member.path, str(reason)) for member in members)
            return
        for number, part in enumerate(_by_direction(once)):
            own = set(part)
            copies = [(copy, kept) for copy, kept in twins if kept in own]
            try:
                stacks = sort_stack(part, self._digest)
            except FileRefused as reason:
                refused = (*part, *(copy for copy, _ in copies))
                self._notes.update((member.path, str(reason)) for member in refused)
                continue
            if copies:
                stacks[0].flags.append(f"duplicates: {len(copies)} left out")
            for time, stack in enumerate(stacks):
                for copy, kept in copies + stack.copies:
                    self._read.add(copy.path)
                    self._notes[copy.path] = f"it is the same image as {kept.path}, which is used"
                self._add_stack(stack, name, (number, time))

    def _drop_twins(
        self, members: Sequence[ScannedSlice]
    ) -> tuple[list[ScannedSlice], list[tuple[ScannedSlice, ScannedSlice]]]:
        """Leave out copies with the same SOPInstanceUID; refuse different images that share it."""
        named = defaultdict(list)
        for member in members:
            name = member.file.uid if member.file.named else str(member.path)
            named[name, member.frame.frame, member.frame.time].append(member)
        once, copies = [], []
        for first, *others in named.values():
            once.append(first)
            copies += [(other, first) for other in others]
            for other in others:
                self._check_twins(first, other)
        return once, copies

    def _check_twins(self, one: ScannedSlice, other: ScannedSlice) -> None:
        """Refuse two images with the same SOPInstanceUID that are not the same image."""
        differ = "positions" if one.frame.geometry.position != other.frame.geometry.position else ""
        if not differ and self._digest(one) != self._digest(other):
            differ = "pixels"
        if differ:
            names = f"{one.path.name} and {other.path.name}"
            raise FileRefused(f"{names} have the same SOPInstanceUID and different {differ}")

    def _digest(self, member: ScannedSlice) -> str:
        answer = self._pool.ask(member.source)
        if isinstance(answer, FileReport):
            raise FileRefused(
                "two of its slices are at the same position, and one cannot be decoded "
                f"({member.path.name}: {answer.reason})"
            )
        assert isinstance(answer, Decoded)
        return hashlib.blake2b(answer.stored.tobytes(), digest_size=16).hexdigest()

    def _add_stack(self, stack: Stack, name: str, place: tuple[int, int]) -> None:
        first = stack.members[0]
        group, origin = first.group, first.group_from
        slices = tuple(self._slice(member) for member in stack.members)
        flags = dict.fromkeys(flag for member in stack.members for flag in member.file.flags)
        if any("LOCALIZER" in member.frame.stack for member in stack.members):
            flags["localizer"] = None
        series = Series(
            key=pseudonym("series", name, first.frame.stack, str(place[0]), stack.name),
            slices=slices,
            flags=(*flags, *stack.flags, *geometry_flags(slices)),
        )
        study = pseudonym("study", first.file.study_uid or group)
        order = (pseudonym("series", name), first.frame.stack, place)
        self._series[study, group, origin].append((order, series))
        self._read.update(member.path for member in stack.members)

    def _series_name(self, members: Sequence[ScannedSlice]) -> str:
        """Return a unique name of the series; a multi-frame file shares its UID with others."""
        first = members[0].file
        if first.series_uid and len(first.frames) == 1:
            return " ".join((first.patient, first.study_uid, first.series_uid))
        return min(self._key(member) for member in members)

    def _key(self, member: ScannedSlice) -> str:
        repeat = self._repeats.get(member.path, 0)
        place = (repeat, member.frame.time, member.frame.frame)
        apart: tuple[str, ...] = ()
        if (member.file.uid, member.frame.frame) in self._claimed:
            apart = _series_id(member)
        return pseudonym("slice", member.file.uid, *map(str, place), *apart)

    def _slice(self, member: ScannedSlice) -> Slice:
        file, frame = member.file, member.frame
        return Slice(
            key=self._key(member),
            group=member.group,
            shape=(file.rows, file.columns),
            modality=file.modality or self._modality,
            geometry=frame.geometry,
            source=member.source,
            load=self._loader,
            inverted=file.inverted,
            burned_in=file.burned_in,
            window=frame.window,
        )


def _series_id(member: ScannedSlice) -> tuple[str, ...]:
    """Return the identifier that the slices of one series have in common."""
    path, header, stack = member.path, member.file, member.frame.stack
    if header.format == "picture":
        return (header.format, str(path.parent), stack)
    if header.format != "dicom":
        return (header.format, str(path))
    series = header.series_uid or f"in {path.parent}"
    # A multi-frame file is a whole series, even if others share its SeriesInstanceUID.
    own = header.uid if len(header.frames) > 1 else ""
    return (header.format, header.patient, header.study_uid, series, own, stack)


def _claimed_twice(members: Iterable[ScannedSlice]) -> set[tuple[str, int]]:
    """Return each UID and frame that slices of several series claim, and flag their files.

    A SOPInstanceUID belongs to one image only; the keys of such slices would be equal.
    """
    claims: dict[tuple[str, int], list[ScannedSlice]] = defaultdict(list)
    for member in members:
        if member.file.named:
            claims[member.file.uid, member.frame.frame].append(member)
    twice = {name: found for name, found in claims.items() if len(set(map(_series_id, found))) > 1}
    for member in chain.from_iterable(twice.values()):
        if _SHARED_NAME not in member.file.flags:
            member.file.flags.append(_SHARED_NAME)
    return set(twice)


def _by_direction(members: Sequence[ScannedSlice]) -> list[list[ScannedSlice]]:
    """Separate slices of different orientations, such as those of a localizer.

    Slices belong together if a chain of similar orientations connects them, so that the result
    depends neither on noise in the angles nor on the order of the files.
    """
    planes = [member.frame.geometry for member in members]
    axes = [(*(plane.along_row or ()), *(plane.along_column or ())) for plane in planes]
    distinct = sorted(set(axes))
    parts: list[list[tuple[float, ...]]] = []
    for axis in distinct:
        like = [part for part in parts if any(_alike(axis, other) for other in part)]
        parts = [part for part in parts if part not in like] + [sum(like, [axis])]
    return [[m for m, axis in zip(members, axes, strict=True) if axis in part] for part in parts]


def _alike(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return len(one) == len(other) and all(
        abs(a - b) < _SAME_DIRECTION for a, b in zip(one, other, strict=True)
    )


def _share_patients(headers: Sequence[FileHeader]) -> None:
    """Assign the one patient that a study names to its files that name no patient."""
    patients = defaultdict(set)
    for header in headers:
        if header.study_uid and header.patient:
            patients[header.study_uid].add(header.patient)
    for header in headers:
        named = patients.get(header.study_uid, set())
        if not header.patient and len(named) == 1:
            (header.patient,) = named


def _patient(found: Found, header: FileHeader) -> tuple[str, str]:
    """Return the pseudonym of the patient and the source of that pseudonym."""
    if header.patient:
        return pseudonym("patient", header.patient), "PatientID"
    if header.study_uid:
        return pseudonym("patient", header.study_uid), "StudyInstanceUID"
    for part in found.inside.parent.parts:
        if part.startswith("sub-"):
            return pseudonym("patient", part), "folder of the subject"
    return pseudonym("patient", found.path.parent.name), "parent folder"
