"""Split patients into those that a model is trained on and those that it is validated on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medvae.atomic import write_text
from medvae.errors import ReadError, UsageProblem
from medvae.records import Slice, check_secret, secret_fingerprint
from medvae.schema import read_object

__all__ = ["Split", "make_split", "read_held_out", "read_split", "write_split"]


@dataclass(frozen=True)
class Split:
    """The patient groups on each side of a split; groups on neither side are not used."""

    training: frozenset[str]
    validation: frozenset[str]


def make_split(slices: Iterable[Slice], share: float, seed: int) -> Split:
    """Split slices by patient, in an order that depends on the seed, not on other patients.

    Args:
        slices: Slices to split.
        share: Share of the patients held out for validation; at least one patient is.
        seed: Random seed of the split.

    Raises:
        UsageProblem: If there are fewer than two patients.
    """
    groups = sorted({item.group for item in slices}, key=lambda group: _order(group, seed))
    if len(groups) < 2:
        raise UsageProblem(
            "all slices belong to one patient, so none can be held out; pass slices of at least "
            "two patients, or labels that name the patients"
        )
    held_out = min(max(round(share * len(groups)), 1), len(groups) - 1)
    return Split(frozenset(groups[held_out:]), frozenset(groups[:held_out]))


def write_split(path: Path, split: Split) -> None:
    """Write a split as JSON."""
    sides = {
        "training": sorted(split.training),
        "validation": sorted(split.validation),
        "secret": secret_fingerprint(),
    }
    write_text(path, json.dumps(sides, indent=1) + "\n")


def read_split(path: Path, slices: Sequence[Slice]) -> Split:
    """Read a split and check it against the available slices.

    Raises:
        ReadError: If the file is not a split, or leaves one of the sides without slices.
        UsageProblem: If it was written with another ``MEDVAE_SECRET``.
    """
    split, _ = _read(path)
    if both := split.training & split.validation:
        raise ReadError(f"{path}: {len(both)} patients are on both sides, such as {min(both)}")
    there = {item.group for item in slices}
    for side in ("training", "validation"):
        if not there & getattr(split, side):
            raise ReadError(f"{path}: none of the {side} patients is among the slices")
    return split


def read_held_out(path: Path) -> frozenset[str]:
    """Return the patient groups that a split holds out, for validation or as ``test``.

    Raises:
        ReadError: If the file is not a split.
        UsageProblem: If it was written with another ``MEDVAE_SECRET``.
    """
    split, test = _read(path)
    return split.validation | test


def _read(path: Path) -> tuple[Split, frozenset[str]]:
    """Return the two sides of a split, and its test patients."""
    sides = read_object(path)
    try:
        split = Split(frozenset(sides.texts("training")), frozenset(sides.texts("validation")))
        test = frozenset(sides.texts("test") if "test" in sides else ())
        secret = sides.text("secret") if "secret" in sides else None
    except ReadError as error:
        raise ReadError(
            f"{error}; a split is JSON with lists of patient groups as 'training' and 'validation'"
        ) from error
    check_secret(path, secret)
    return split, test


def _order(group: str, seed: int) -> bytes:
    return hashlib.blake2b(group.encode(), key=str(seed).encode()).digest()
