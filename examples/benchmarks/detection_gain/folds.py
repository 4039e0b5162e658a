"""Folds of patients, some to choose on and others to report; no patient is on both sides of one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from medvae.errors import UsageProblem
from medvae.randomness import generator

__all__ = ["Fold", "Stage", "labelled_patients", "make_folds"]

Stage = Literal["dev", "report"]


@dataclass(frozen=True)
class Fold:
    """Division of the patients into training and test patients.

    Attributes:
        number: Number of the fold.
        stage: Purpose of its scores: to choose settings (``dev``), or to be reported (``report``).
        training: Patients that anything may be trained on.
        test: Patients that only the detector under test sees.
    """

    number: int
    stage: Stage
    training: frozenset[str]
    test: frozenset[str]


def make_folds(groups: Iterable[str], count: int, report: int, seed: int) -> list[Fold]:
    """Divide patients into folds.

    The last folds are reported. Their test patients are in none of the other folds, so they have
    no influence on what is chosen there.

    Args:
        groups: Patients to divide.
        count: Number of folds.
        report: Number of folds that are reported.
        seed: Random seed.

    Raises:
        UsageProblem: One of the numbers is out of range.
    """
    everyone = sorted(set(groups), key=lambda group: _order(group, seed))
    if not 2 <= count <= len(everyone):
        raise UsageProblem(
            f"--folds {count}: must be from 2 to the number of patients, which is {len(everyone)}"
        )
    if not 0 <= report <= count:
        raise UsageProblem(f"--report {report}: must be from 0 to the number of folds, {count}")
    parts = [frozenset(everyone[number::count]) for number in range(count)]
    reported = frozenset[str]().union(*parts[count - report :])
    folds = []
    for number, test in enumerate(parts):
        if number < count - report:
            folds.append(Fold(number, "dev", frozenset(everyone) - test - reported, test))
        else:
            folds.append(Fold(number, "report", frozenset(everyone) - test, test))
    return folds


def labelled_patients(
    fold: Fold, findings: Mapping[str, int], count: int, repeat: int, *, least: int, seed: int
) -> frozenset[str]:
    """Draw the patients whose labels may be used; a smaller draw is a subset of a larger one.

    Args:
        fold: Fold from whose training patients they are drawn.
        findings: Number of findings of each patient.
        count: Number of patients to draw.
        repeat: Number of the repeat, each of which has its own draw.
        least: Minimum number of findings of a patient to be labelled.
        seed: Random seed of the whole benchmark.

    Raises:
        UsageProblem: There are not enough such patients.
    """
    eligible = sorted(group for group in fold.training if findings[group] >= least)
    if count > len(eligible):
        raise UsageProblem(
            f"--patients {count}: the training side of fold {fold.number} has {len(eligible)} "
            f"patients with {least} findings or more"
        )
    order = generator(seed, "labelled", fold.number, repeat).permutation(len(eligible))
    return frozenset(eligible[place] for place in order[:count])


def _order(group: str, seed: int) -> bytes:
    return hashlib.blake2b(group.encode(), key=f"folds {seed}".encode()).digest()
