"""The contract of a statistic: what it measures, reports, shows and adds to the verdict."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from markupsafe import Markup
from numpy.typing import NDArray

from medvae.auditing._decoded import DecodedSet
from medvae.auditing._extractors import Extractor
from medvae.auditing._page import Report, estimates_table, expanded
from medvae.auditing._patients import Estimate
from medvae.models import TrainedModel
from medvae.pages import part
from medvae.progress import Progress, ignore_progress

__all__ = [
    "LOOKS_DIFFERENT",
    "AuditSettings",
    "ComparedSets",
    "Rule",
    "Statistic",
    "plain",
    "with_baselines",
]

Features = NDArray[np.float32]
Result = TypeVar("Result")

LOOKS_DIFFERENT = (
    "The slices look different. Look at the activation maps to see where; lower the strength of "
    "the augmentation, or try another render. If lesions survive, a detector may still gain: train "
    "it with and without the set.",
    "The slices look different. A decoded slice is smoother than any scan: render with warp, "
    "residual or transplant.",
)
"""Advice for a set whose slices can be told from real ones."""

_SPLITS = 3
_MARKS = ("green", "amber", "red")


@dataclass(frozen=True, eq=False)
class ComparedSets:
    """The sets that statistics compare.

    Attributes:
        real, synthetic: Real and synthetic slices.
        held_out: Real slices of other patients, which give the baselines; None if baselines come
            from splits of the real slices by patient.
    """

    real: DecodedSet
    synthetic: DecodedSet
    held_out: DecodedSet | None = None

    @property
    def splits(self) -> int:
        """Number of splits of the real slices that give the baselines of classifiers."""
        return _SPLITS if self.held_out is None else 0

    def compare_features(
        self, measured: Callable[[Features, Features, DecodedSet], Result]
    ) -> Mapping[str, Result]:
        """Compare the features of each extractor, as in `compare`; return results by its name.

        Args:
            measured: Called with the features of the real set, and of another set, and that set.
        """
        known = self.real.features
        return self.compare(
            lambda other: {
                name: measured(known[name], other.features[name], other) for name in known
            }
        )

    def compare(self, measured: Callable[[DecodedSet], Result]) -> Result:
        """Measure the synthetic set, and the held-out one for the baselines if there is one.

        Args:
            measured: Compares a set with the real one; must not depend on the other sets.
        """
        found = measured(self.synthetic)
        return found if self.held_out is None else with_baselines(found, measured(self.held_out))


@dataclass(frozen=True, eq=False)
class AuditSettings:
    """Settings and tools of an audit.

    Attributes:
        sizes: Picture sizes at which the small network is trained, largest first.
        epochs: Number of epochs for which it is trained.
        extractors: Extractors whose features are compared.
        model: Model whose latent space is shown; None to leave it out.
        seed: Random seed for all draws.
        device: Device to compute on.
        progress: Called with (stage, done, total, note) as work proceeds.
    """

    sizes: tuple[int, ...]
    epochs: int = 10
    extractors: tuple[Extractor, ...] = ()
    model: TrainedModel | None = None
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: Progress = ignore_progress


@dataclass(frozen=True)
class Rule:
    """The bounds of a number, and what it means for the verdict if they are exceeded.

    Attributes:
        name: Name of the number.
        question: Question that the number answers.
        green, amber: Bounds of these marks; beyond the latter is red.
        path: Path of the number below the name of its statistic; ``*`` stands for the extractor
            that gives the worst number, and an empty path for the value of the statistic itself.
        slack: How much worse than its baseline the number may be and still be green; None if the
            bounds do not depend on the baseline.
        high_is_good: Whether it should be above the bounds.
        decisive: Whether red here makes the whole set red.
        excess: Path of the number minus its baseline, with the interval of this difference; if
            given, the difference is compared with the bounds.
        opening: First sentence of the verdict if this rule alone makes the set red; empty for the
            usual one.
        advice: What to change if the number is not green; a second text, if any, is for sets that
            were rendered by decoding.
    """

    name: str
    question: str
    green: float
    amber: float
    path: str = ""
    slack: float | None = None
    high_is_good: bool = False
    decisive: bool = False
    excess: str | None = None
    opening: str = ""
    advice: tuple[str, ...] = ()

    def bounds(self, baseline: float | None) -> tuple[float, float]:
        """Return the bounds, relaxed where real slices themselves do no better."""
        if baseline is None or self.slack is None:
            return self.green, self.amber
        if self.high_is_good:
            green = min(self.green, baseline - self.slack)
            return green, min(self.amber, green)
        green = max(self.green, baseline + self.slack)
        return green, max(self.amber, green)

    def mark(self, found: Mapping[str, float]) -> str:
        """Return the mark of an estimate: red only if its whole interval is beyond the bounds."""
        green, amber = self.bounds(found["baseline"])
        value, best = found["value"], found["high" if self.high_is_good else "low"]
        best = value if best is None else best
        if self.high_is_good:
            value, best, green, amber = -value, -best, -green, -amber
        return _MARKS[int(value > green) + int(value > amber and best > amber)]

    def decides(self, found: Mapping[str, Any]) -> bool:
        """Return whether red here makes the whole set red, given the estimate."""
        return self.decisive

    def changes(self, mark: str | None, augmentation: Mapping[str, Any] | None) -> Iterator[str]:
        """Yield what to change, in one or two sentences each.

        Args:
            mark: The mark of the number; None if it could not be measured.
            augmentation: Settings of the augmentation that made the set; None for other slices.
        """
        decoded = "decode" in str((augmentation or {}).get("render", ""))
        if mark in ("amber", "red"):
            yield from self.advice[-1:] if decoded else self.advice[:1]


class Statistic(ABC, Generic[Result]):
    """A statistic of the audit.

    To add one, write a subclass in a module of its own, and list it in `STATISTICS`. Only `measure`
    must be written: the default section is a table of all `numbers`.

    Attributes:
        name: Its name in ``report.json`` and in bounds such as ``name>0.8``.
        title: Heading of its section in the report.
        explanation: What its numbers mean, for readers of the report.
        numbers: Names of its numbers by their path below its name, for tables and help texts;
            ``*`` stands for an extractor, a category or a size, an empty path for its own value.
        rules: Its part in the verdict.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    explanation: ClassVar[str]
    numbers: ClassVar[Mapping[str, str]]
    rules: ClassVar[tuple[Rule, ...]] = ()

    @abstractmethod
    def measure(self, sets: ComparedSets, settings: AuditSettings) -> Result | None:
        """Measure the sets; return None if there is nothing to measure."""

    def as_json(self, result: Result) -> Any:
        """Return its part of the report: estimates, numbers and texts, nested in any way."""
        return result

    def section(self, result: Result, report: Report, sets: ComparedSets) -> Iterator[Markup]:
        """Yield the content of its section in the report.

        Args:
            result: What was measured.
            report: The numbers of the report, which tables quote by their path.
            sets: The sets, whose slices can be shown.
        """
        yield part("paragraph", self.explanation)
        yield self.table(report)

    def table(self, report: Report) -> Markup:
        """Return a table of its numbers that are in the report."""
        rows = {
            f"{text} ({name})" if name else text: full
            for path, text in self.numbers.items()
            for name, full in expanded(report, f"{self.name}.{path}".removesuffix(".")).items()
        }
        return estimates_table(report, "Measured values, with their intervals in brackets", rows)

    def sentences(self, found: Mapping[str, Any] | None) -> Iterable[str]:
        """Return its sentences in the verdict.

        Args:
            found: Its part of the report; None if it could not be measured.
        """
        return ()


def with_baselines(found: Any, others: Any) -> Any:
    """Set the baseline of every estimate in a result to the value of its counterpart in another."""
    if isinstance(found, Estimate):
        return replace(found, baseline=others.value) if isinstance(others, Estimate) else found
    if isinstance(found, Mapping) and isinstance(others, Mapping):
        return {name: with_baselines(one, others.get(name)) for name, one in found.items()}
    if type(found) is tuple and type(others) is tuple:
        return tuple(with_baselines(one, other) for one, other in zip(found, others, strict=True))
    if is_dataclass(found) and not isinstance(found, type) and type(found) is type(others):
        names = [one.name for one in fields(found)]
        return replace(
            found, **{n: with_baselines(getattr(found, n), getattr(others, n)) for n in names}
        )
    return found


def plain(value: Any) -> Any:
    """Return a value as plain JSON data; null for numbers that are not finite."""
    if isinstance(value, Estimate):
        return value.as_json()
    if is_dataclass(value) and not isinstance(value, type):
        return plain(vars(value))
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
