"""Measurement of cells: draw the labelled patients, make synthetic slices, train and test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medvae.errors import UsageProblem
from medvae.networks import fastest_dtype
from medvae.randomness import generator

from .arms import Arm
from .cells import Cell
from .detector import Detector, Part, fit, predict
from .folds import Fold, labelled_patients
from .results import Choices
from .scores import score
from .slices import DataSet
from .synthetic import Factory, Lot
from .vae import Trainer

__all__ = ["Bench", "Grid"]


@dataclass(frozen=True)
class Grid:
    """Cells to be measured.

    Attributes:
        arms: Arms to compare.
        patients: Numbers of labelled patients.
        repeats: Number of draws of the labelled patients.
        steps: Numbers of training steps for detectors.
        classic: Strengths of the classic augmentation.
    """

    arms: tuple[Arm, ...]
    patients: tuple[int, ...]
    repeats: int
    steps: tuple[int, ...]
    classic: tuple[float, ...]

    def dev(self, folds: Sequence[Fold]) -> Iterator[Cell]:
        """Yield the cells that choices are based on: every way of training, repeat by repeat."""
        for repeat, fold, patients, arm in self._places(folds):
            for steps, classic in self._ways(arm):
                yield Cell("dev", fold.number, patients, repeat, arm.name, steps, classic)

    def report(self, folds: Sequence[Fold], choices: Choices) -> Iterator[Cell]:
        """Yield the cells to report: each arm trained in the only way, or in the chosen one.

        Raises:
            UsageProblem: There are several ways, and none was chosen.
        """
        for repeat, fold, patients, arm in self._places(folds):
            ways = self._ways(arm)
            chosen = ways[0] if len(ways) == 1 else choices.get((arm.name, patients))
            if chosen is None:
                raise UsageProblem(
                    f"{arm.name} with {patients} patients was not measured on the folds for "
                    "choosing: do that first by --stage dev, or give one of --steps and --classic"
                )
            yield Cell("report", fold.number, patients, repeat, arm.name, *chosen)

    def _places(self, folds: Sequence[Fold]) -> Iterator[tuple[int, Fold, int, Arm]]:
        for repeat in range(self.repeats):
            for fold in folds:
                for patients in self.patients:
                    for arm in self.arms:
                        yield repeat, fold, patients, arm

    def _ways(self, arm: Arm) -> list[tuple[int, float]]:
        strengths = self.classic if arm.classic else (0.0,)
        return [(steps, strength) for steps in self.steps for strength in strengths]


@dataclass(frozen=True, eq=False)
class Bench:
    """Runner that measures cells.

    Attributes:
        data: All slices.
        trainer: Trainer of autoencoders.
        factory: Factory of synthetic slices.
        network: Function that returns a detector with initial weights.
        device: Device on which detectors are trained.
        least: Minimum number of findings of a patient to be labelled.
        seed: Random seed for the draws of labelled patients and for the detectors.
    """

    data: DataSet
    trainer: Trainer
    factory: Factory
    network: Callable[[], Detector]
    device: torch.device
    least: int
    seed: int

    def measure(self, cell: Cell, fold: Fold, arm: Arm) -> dict[str, Any]:
        """Measure a cell, and return its scores, its cost and what it was made of."""
        labelled = labelled_patients(
            fold, self.data.findings, cell.patients, cell.repeat, least=self.least, seed=self.seed
        )
        test = self.data.examples.take(self.data.of(fold.test))
        wanted = [test.boxes_of(row) for row in range(len(test))]
        if not any(map(len, wanted)):
            raise UsageProblem(
                f"the test side of fold {fold.number} has no finding: give less folds"
            )
        runs: dict[Path, float | None] = {}
        lots: list[Lot] = []
        parts = list(self._parts(arm, fold, labelled, cell.repeat, runs, lots))
        start = time.perf_counter()
        seed = self._detector_seed(cell)
        model = fit(self.network, parts, cell.steps, seed, cell.classic, self.device)
        seconds: dict[str, float | None] = {"detector": time.perf_counter() - start}
        if lots:
            seconds |= {
                "vae": _total(runs.values()),
                "augment": _total(lot.seconds for lot in lots),
            }
        return {
            "scores": score(predict(model, test.images, self.device), wanted),
            "seconds": seconds,
            "slices": {"parts": [len(part.examples) for part in parts], "test": len(test)},
            "draws": [dict(lot.outcomes) for lot in lots],
            "precision": str(fastest_dtype(self.device)).removeprefix("torch."),
        }

    def _parts(
        self,
        arm: Arm,
        fold: Fold,
        labelled: frozenset[str],
        repeat: int,
        runs: dict[Path, float | None],
        lots: list[Lot],
    ) -> Iterator[Part]:
        """Yield the parts of the batches; add what was made for them to `runs` and `lots`."""
        examples, strangers = self.data.examples, fold.training - labelled
        yield Part(examples.take(self.data.worth_training_on(labelled)), arm.real)
        for ingredient in arm.ingredients:
            recipe = ingredient.synthetic
            if recipe is None:
                free = self.data.free(strangers)
                if not free:
                    raise UsageProblem(
                        f"arm {arm.name}: no other patient has slices that are empty"
                    )
                yield Part(examples.take(free), ingredient.count)
                continue
            run = self.trainer.of(labelled if recipe.own_vae else fold.training, repeat)
            runs[run.folder] = run.seconds
            lots.append(self.factory.lot(recipe, run, labelled, strangers, repeat))
            yield Part(lots[-1].examples, ingredient.count)

    def _detector_seed(self, cell: Cell) -> int:
        """Return one seed for all arms of a repeat, so that they begin with the same weights."""
        key = ("detector", cell.fold, cell.patients, cell.repeat)
        return int(generator(self.seed, *key).integers(2**31))


def _total(seconds: Iterable[float | None]) -> float | None:
    """Return the sum of the seconds, or None if any of them is unknown."""
    known = list(seconds)
    return None if None in known else sum(filter(None, known))
