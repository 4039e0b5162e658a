"""The contract of a statistic: its texts, its part in the verdict, and the module that measures it.

This module imports no numerical library, so that help texts appear at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch
    from markupsafe import Markup

    from medvae.auditing._decoded import DecodedSet
    from medvae.models import TrainedModel
    from medvae.progress import Progress

Result = TypeVar("Result")
Function = TypeVar("Function", bound=Callable[..., Any])

_SPLITS = 3
_MARKS = ("green", "amber", "red")


@dataclass(frozen=True)
class Estimate:
    """A measured value with its interval and its baseline.

    Attributes:
        value: Measured value.
        low, high: Bounds of 95 % of the values that other patients of the same kind would give.
        baseline: The same value between real slices of different patients; None if it is unknown.
    """

    value: float
    low: float
    high: float
    baseline: float | None = None


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

    def compare(self, measured: Callable[[DecodedSet], Result]) -> Result:
        """Measure the synthetic set, and the held-out one for the baselines if there is one.

        Args:
            measured: Compares a set with the real one; must not depend on the other sets.
        """
        found = measured(self.synthetic)
        return found if self.held_out is None else _with_baselines(found, measured(self.held_out))


def _with_baselines(found: Any, others: Any) -> Any:
    """Set the baseline of every estimate in a result to the value of its counterpart in another."""
    if isinstance(found, Estimate):
        return replace(found, baseline=others.value) if isinstance(others, Estimate) else found
    if isinstance(found, Mapping):
        return {name: _with_baselines(one, others.get(name)) for name, one in found.items()}
    if is_dataclass(found) and not isinstance(found, type):
        names = [one.name for one in fields(found)]
        changed = {n: _with_baselines(getattr(found, n), getattr(others, n)) for n in names}
        return replace(found, **changed)
    return found


@dataclass(frozen=True, eq=False)
class AuditSettings:
    """Settings of an audit.

    Attributes:
        device: Device to compute on.
        image_size: Side of the canvas in pixels.
        epochs: Number of epochs for which the small network is trained.
        model: Model whose encoder gives features; None to leave these out.
        seed: Random seed for all draws.
        progress: Called with (stage, done, total, note) as work proceeds.
    """

    device: torch.device
    image_size: int
    epochs: int
    model: TrainedModel | None
    seed: int
    progress: Progress


@dataclass(frozen=True)
class Rule:
    """The bounds of a number, and what it means for the verdict if they are exceeded.

    Attributes:
        name: Name of the number.
        green, amber: Bounds of these marks; beyond the latter is red.
        path: Path of the number below the name of its statistic; ``*`` stands for the kind of
            features that gives the worst number, an empty path for the value of the statistic.
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
        sign, worse = (-1, min) if self.high_is_good else (1, max)
        green = worse(self.green, baseline + sign * self.slack)
        return green, worse(self.amber, green)

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


@dataclass(frozen=True)
class Statistic:
    """A statistic of the audit; its module is imported when it is measured.

    To add one, write a module with the function ``measure(sets, settings)``, which returns an
    `Estimate`, or a mapping or dataclass of estimates, or None if there is nothing to measure, and
    list the statistic in `STATISTICS`. The module may define the functions behind the other methods
    below, which take the same arguments.

    Attributes:
        name: Its name in ``report.json`` and in bounds such as ``name>0.8``.
        module: Name of its module.
        title: Heading of its section in the report.
        explanation: What its numbers mean, for readers of the report.
        numbers: Names of its numbers by their path below its name, for tables and help texts; ``*``
            stands for a kind of features or a category, an empty path for its own value.
        rules: Its part in the verdict.
    """

    name: str
    module: str
    title: str
    explanation: str
    numbers: Mapping[str, str]
    rules: tuple[Rule, ...] = ()

    def measure(self, sets: ComparedSets, settings: AuditSettings) -> Any:
        """Measure the sets; return None if there is nothing to measure."""
        return import_module(self.module).measure(sets, settings)

    def as_json(self, result: Any) -> Any:
        """Return its part of the report: by default, the result itself."""
        return self._function("as_json", lambda result: result)(result)

    def section(self, result: Any, sets: ComparedSets) -> Iterable[Markup]:
        """Return what its section of the report shows below the table of its numbers."""
        return self._function("section", lambda result, sets: ())(result, sets)

    def sentences(self, found: Mapping[str, Any] | None) -> Iterable[str]:
        """Return its sentences in the verdict.

        Args:
            found: Its part of the report; None if it could not be measured.
        """
        return self._function("sentences", lambda found: ())(found)

    def _function(self, name: str, default: Function) -> Function:
        found: Function = getattr(import_module(self.module), name, default)
        return found
