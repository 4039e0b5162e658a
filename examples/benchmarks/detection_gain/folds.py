"""Patients into folds: some to choose on, others to report, and nobody on both sides of either."""

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
    """One division of the patients.

    Attributes:
        number: of the fold.
        stage: what its figures are for: to choose (``dev``), or to be reported.
        training: patients that anything may learn from.
        test: patients that nothing sees but the detector that is tested.
    """

    number: int
    stage: Stage
    training: frozenset[str]
    test: frozenset[str]


def make_folds(groups: Iterable[str], count: int, report: int, seed: int) -> list[Fold]:
    """Divide patients.

    The last folds are reported. Their test patients are not in the others at all: what is chosen
    there has never met them.

    Args:
        groups: the patients.
        count: of the folds.
        report: how many of them are reported.
        seed: other seeds, other folds.

    Raises:
        UsageProblem: the numbers cannot be right.
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
    """Draw the patients whose labels may be used; those of a smaller count are among them.

    Args:
        fold: from whose training side they are.
        findings: of each patient.
        count: how many are drawn.
        repeat: each has a draw of its own.
        least: findings that a patient has who is worth labelling.
        seed: of the whole run.

    Raises:
        UsageProblem: there are not so many.
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
