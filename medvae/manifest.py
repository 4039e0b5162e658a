"""The record of a run: its settings, and one line for each draw, kept or rejected."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Any

from medvae.atomic import write_text
from medvae.errors import ReadError, UsageProblem, WriteError
from medvae.folders import check_empty, contents
from medvae.labels import finding_from_record, finding_record
from medvae.records import Labels, check_secret, secret_fingerprint
from medvae.schema import Fields, below, parse, read_object

__all__ = ["Manifest", "ManifestLine", "claim", "disclaim", "read_order", "remove_unfinished"]


@dataclass(frozen=True)
class ManifestLine:
    """A line of the manifest, which describes one draw.

    Attributes:
        key: Name of the synthetic slice.
        batch: Name of the batch that it was made in.
        reason: Reason for the rejection; None if the slice was kept.
        sources: Keys of the source and, for a transplant, of the host.
        groups: Pseudonyms of the patients, that of the changed slice first.
        copy: Number of this copy of the source, from 1.
        render, sampler: How the slice was made.
        strength: Strength of the last attempt.
        seed: Key of the random numbers.
        partner: Key of the slice that the latent was drawn towards.
        gates: Values that the gates measured.
        numbers: Numbers that describe the change.
        shape: Rows and columns of the slice.
        files: Files of the slice, relative to the folder of the run; none if it was rejected.
        labels: Findings on the slice; none if it was rejected.
        labelled: Whether the source is labelled.
        model: Digest of the model.
    """

    key: str
    batch: str
    reason: str | None
    sources: tuple[str, ...]
    groups: tuple[str, ...]
    copy: int
    render: str
    sampler: str | None
    strength: float | None
    seed: str
    partner: str | None
    gates: Mapping[str, float | None]
    numbers: Mapping[str, float | None]
    shape: tuple[int, int]
    files: tuple[str, ...]
    labels: Labels
    labelled: bool
    model: str

    @property
    def kept(self) -> bool:
        """Whether the slice was written."""
        return self.reason is None

    def record(self) -> dict[str, Any]:
        """Return the line as plain JSON."""
        return {
            "key": self.key,
            "batch": self.batch,
            "outcome": "kept" if self.kept else "rejected",
            "reason": self.reason,
            "sources": list(self.sources),
            "groups": list(self.groups),
            "copy": self.copy,
            "render": self.render,
            "sampler": self.sampler,
            "strength": self.strength,
            "seed": self.seed,
            "partner": self.partner,
            "gates": dict(self.gates),
            "numbers": dict(self.numbers),
            "shape": list(self.shape),
            "files": list(self.files),
            "labels": [finding_record(finding, self.shape) for finding in self.labels],
            "labelled": self.labelled,
            "model": self.model,
        }

    @classmethod
    def read(cls, line: Fields, out: Path) -> ManifestLine:
        """Return the line that a record describes.

        Args:
            line: The record.
            out: Folder of the run.

        Raises:
            ReadError: If it is not a line that ``medvae augment`` could have written.
        """
        outcome, shape = line.text("outcome"), line.shape("shape")
        if outcome not in ("kept", "rejected"):
            raise line.wrong("outcome", "kept or rejected")
        kept = outcome == "kept"
        if kept != line.is_null("reason"):
            raise line.wrong("reason", "null if the slice was kept, and a string if it was not")
        files = line.texts("files", least=1 if kept else 0)
        for name in files:
            try:
                below(out, name)
            except ReadError as error:
                raise ReadError(
                    f"{line.where}: 'files' must stay below its folder: {error}"
                ) from error
        findings = (finding_from_record(f.content, shape, f.where) for f in line.objects("labels"))
        return cls(
            key=line.text("key"),
            batch=line.text("batch"),
            reason=_optional(line, "reason"),
            sources=line.texts("sources", least=1),
            groups=line.texts("groups", least=1),
            copy=line.whole("copy"),
            render=line.text("render"),
            sampler=_optional(line, "sampler"),
            strength=None if line.is_null("strength") else line.number("strength"),
            seed=line.text("seed"),
            partner=_optional(line, "partner"),
            gates=_numbers(line.object("gates")),
            numbers=_numbers(line.object("numbers")),
            shape=shape,
            files=files,
            labels=Labels(tuple(findings)),
            labelled=line.flag("labelled"),
            model=line.text("model"),
        )


def _optional(line: Fields, name: str) -> str | None:
    return None if line.is_null(name) else line.text(name)


def _numbers(fields: Fields) -> dict[str, float | None]:
    return {name: None if fields.is_null(name) else fields.number(name) for name in fields.content}


_LONGEST_LINE = 2**26
"""Maximum length of a line, in bytes."""

_ORDER = "run.json"
_LINES = "manifest.jsonl"


def claim(out: Path, order: Mapping[str, Any], resume: bool) -> None:
    """Assign a folder to this run, or check that it is already assigned to it.

    Args:
        out: Output folder.
        order: All settings that determine what is written, as plain JSON.
        resume: Whether to continue a run that was started there.

    Raises:
        UsageProblem: If the folder holds something else, or a run with another order or another
            ``MEDVAE_SECRET``.
        WriteError: If the file system refuses.
    """
    path = out / _ORDER
    order = {**order, "secret": secret_fingerprint()}
    text = json.dumps(order, indent=2, sort_keys=True) + "\n"
    try:
        begun = path.is_file()
        if begun and not resume:
            raise UsageProblem(f"{out}: holds a run; resume it, or choose another folder")
        changed = ", ".join(_changed(read_order(out), json.loads(text))) if begun else ""
        if changed:
            raise UsageProblem(
                f"{out}: holds a run with another {changed}; resume it with the same arguments, or "
                "choose another folder"
            )
    except OSError as error:
        raise UsageProblem(f"{out}: cannot be used: {error.strerror}") from error
    except ReadError as error:
        raise UsageProblem(str(error)) from error
    if not begun:
        check_empty(out)
        write_text(path, text)


def disclaim(out: Path) -> None:
    """Release a folder to which no results were written, so that a corrected command can use it."""
    if [path.name for path in contents(out)] == [_ORDER]:
        (out / _ORDER).unlink()


def read_order(out: Path) -> Mapping[str, Any]:
    """Return the settings of a run, as written by ``claim``.

    Raises:
        ReadError: If they cannot be read.
        UsageProblem: If the run was made with another ``MEDVAE_SECRET``.
    """
    order = read_object(out / _ORDER)
    check_secret(out, order.text("secret") if "secret" in order else None)
    return order.content


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    known = {"secret": now["secret"], **before}  # older runs do not record it
    yield from (name for name in sorted({*known, *now}) if known.get(name) != now.get(name))


def remove_unfinished(out: Path) -> None:
    """Remove temporary files that a killed run left behind."""
    for part in out.rglob(".*.part"):
        part.unlink(missing_ok=True)


class Manifest:
    """The manifest lines of a run, in the order of its draws; they are kept in the file alone.

    Args:
        out: Output folder of the run.

    Attributes:
        rejected: Number of rejected draws for each reason.

    Raises:
        ReadError: If the file exists and cannot be read.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / _LINES
        self.rejected = Counter[str]()
        self._count = 0
        self._batches: dict[str, Counter[str | None]] = {}
        self._outdated = False
        self._turn = threading.Lock()
        self._next = 0
        self._waiting: dict[int, Sequence[ManifestLine]] = {}
        self._note(self._read())

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ManifestLine]:
        """Read the lines one after another.

        Raises:
            ReadError: If the file cannot be read.
        """
        return islice(self._read(), self._count)

    @property
    def lines(self) -> list[ManifestLine]:
        """All lines of the manifest."""
        return list(self)

    @property
    def kept(self) -> int:
        """The number of draws that were kept."""
        return self._count - self.rejected.total()

    def _note(self, lines: Iterable[ManifestLine]) -> None:
        """Count lines."""
        for line in lines:
            self._count += 1
            self._batches.setdefault(line.batch, Counter())[line.reason] += 1
            if line.reason is not None:
                self.rejected[line.reason] += 1

    def _read(self) -> Iterator[ManifestLine]:
        try:
            with self.path.open("rb") as file:
                number = 0
                while data := file.readline(_LONGEST_LINE):
                    number += 1
                    where = f"{self.path}, line {number}"
                    if not data.endswith(b"\n"):
                        if len(data) == _LONGEST_LINE:
                            raise ReadError(f"{where}: is too long")
                        return  # This line was being written when the run was killed.
                    yield ManifestLine.read(parse(data, where), self.path.parent)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ReadError(f"{self.path}: cannot be read: {error.strerror}") from error

    def keep_whole(self, batches: Iterable[str]) -> int:
        """Keep the lines of whole batches from the beginning, and discard all others.

        The lines of a batch are written at once, so only the last batch can be incomplete; it is
        generated again. Until its lines are added again, the file stays as it is.

        Args:
            batches: Keys of the batches, in the order of the run.

        Returns:
            The number of batches that are kept.
        """
        pairs = zip(list(self._batches)[:-1], batches, strict=False)
        whole = [key for key, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
        self._batches = {key: self._batches[key] for key in whole}
        outcomes = Counter(chain.from_iterable(c.elements() for c in self._batches.values()))
        self._count = outcomes.total()
        self.rejected = Counter({why: n for why, n in outcomes.items() if why is not None})
        self._outdated = True
        self._next = len(whole)
        return len(whole)

    def finish(self, place: int, lines: Sequence[ManifestLine]) -> None:
        """Accept the lines of a finished batch from any thread; add them in the order of the run.

        Args:
            place: Index of the batch in the run, from 0.
            lines: Lines of the batch.

        Raises:
            WriteError: If the file system refuses; no later batch is added then.
        """
        with self._turn:
            self._waiting[place] = lines
            while self._next in self._waiting:
                self.add(self._waiting.pop(self._next))
                self._next += 1

    def replace(self, lines: Sequence[ManifestLine]) -> None:
        """Write other lines instead of those that are there.

        Raises:
            WriteError: If the file system refuses.
        """
        self._count, self.rejected, self._batches = 0, Counter(), {}
        self._outdated = True
        self.add(lines)

    def add(self, lines: Sequence[ManifestLine]) -> None:
        """Append the lines of a batch whose files have all been written.

        Raises:
            WriteError: If the file system refuses.
        """
        if self._outdated:
            write_text(self.path, "".join(map(_written, [*self, *lines])))
            self._outdated = False
        else:
            self._append("".join(map(_written, lines)))
        self._note(lines)

    def _append(self, text: str) -> None:
        try:
            with self.path.open("ab") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise WriteError(f"{self.path}: cannot be written: {error.strerror}") from error


def _written(line: ManifestLine) -> str:
    return json.dumps(line.record(), ensure_ascii=True) + "\n"
