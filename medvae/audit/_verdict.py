"""The verdict: the numbers of a report against stated bounds, in words, with advice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Row", "Verdict", "at", "judge", "said"]

Report = Mapping[str, Any]

_MARKS = ("green", "amber", "red")
_NETWORK = "Small network"
_WIDE = 0.3
"""Width from which an interval says little."""


@dataclass(frozen=True)
class _Glaring:
    """Thresholds from which two sets differ obviously.

    Attributes:
        value: The smallest area under the curve.
        low: The smallest lower end of its interval, because a few patients prove nothing.
        lead: How far that end must be above the area for real slices of different patients.
    """

    value: float
    low: float
    lead: float

    def fits(self, found: Mapping[str, Any]) -> bool:
        """Return whether an estimate reaches all thresholds."""
        value, low, baseline = found["value"], found["low"], found["baseline"]
        if low is None or baseline is None:
            return False
        return bool(value >= self.value and low >= max(self.low, baseline + self.lead))


@dataclass(frozen=True)
class _Rule:
    """The bounds of a number of the report.

    Attributes:
        path: Path in the report; ``*`` stands for the extractor that gives the worst number.
        name: Name of the row.
        question: Question that the number answers.
        green, amber: Bounds of these marks; beyond the latter is red.
        slack: How much worse than its baseline the number may be and still be green; None if the
            bounds do not depend on the baseline.
        high_is_good: Whether it should be above the bounds.
        decisive: Whether red here makes the whole set red.
        excess: Path of the number minus its baseline, with the interval of this difference; if
            given, the difference is compared with the bounds.
        glaring: Thresholds for an area under a curve that make red decisive; None for no such case.
    """

    path: str
    name: str
    question: str
    green: float
    amber: float
    slack: float | None = None
    high_is_good: bool = False
    decisive: bool = False
    excess: str | None = None
    glaring: _Glaring | None = None

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


_RULES = (
    _Rule(
        "lesion_survival",
        "Lesion survival",
        "Which share of the labelled findings is still there?",
        0.95,
        0.80,
        high_is_good=True,
        decisive=True,
    ),
    _Rule(
        "copies",
        "Copies",
        "Which share of the slices lies as near as a copy to a patient who is not declared to be "
        "in it?",
        0.01,
        0.05,
        decisive=True,
        excess="nearest.excess",
    ),
    _Rule(
        "auc",
        _NETWORK,
        "Can a small network tell synthetic slices from real ones? 0.5 is guessing, 1 is always.",
        0.60,
        0.80,
        0.10,
        glaring=_Glaring(0.95, 0.85, 0.20),
    ),
    _Rule(
        "two_sample.features.*.auc",
        "Stronger classifier",
        "Can logistic regression on features tell them apart?",
        0.70,
        0.90,
        0.10,
    ),
    _Rule(
        "feature_tests.*.t_test_adjusted.between",
        "Features that differ",
        "Which share of the features has another mean, after correction for their number?",
        0.05,
        0.30,
        0.05,
    ),
    _Rule(
        "distances.*.precision",
        "Precision",
        "Which share of the synthetic slices lies where real ones do?",
        0.90,
        0.60,
        0.10,
        high_is_good=True,
    ),
    _Rule(
        "distances.*.coverage",
        "Coverage",
        "Which share of the real slices has a synthetic one near it? Low where variety is missing.",
        0.80,
        0.40,
        0.15,
        high_is_good=True,
    ),
)


@dataclass(frozen=True)
class Row:
    """A number compared with its bounds.

    Attributes:
        path: Path of the number in the report.
        name, question: Name of the number, and the question that it answers.
        extractor: Extractor that gives the worst number; empty if there are no extractors.
        mark: One of ``green``, ``amber`` and ``red``; None if it could not be measured.
        bounds: The bounds in words.
        decisive: Whether red here makes the whole set red.
    """

    path: str
    name: str
    extractor: str
    question: str
    mark: str | None
    bounds: str
    decisive: bool


@dataclass(frozen=True)
class Verdict:
    """The overall verdict on a synthetic set.

    Attributes:
        mark: One of ``green``, ``amber`` and ``red``.
        words: The verdict in one paragraph.
        rows: Numbers with their bounds.
        advice: Changes to make, one or two sentences each.
    """

    mark: str
    words: str
    rows: tuple[Row, ...]
    advice: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the verdict for the report."""
        return {
            "mark": self.mark,
            "words": self.words,
            "rows": [vars(row) for row in self.rows],
            "advice": list(self.advice),
        }


def judge(report: Report, order: Mapping[str, Any] | None) -> Verdict:
    """Judge a report.

    Args:
        report: Numbers of the report.
        order: Settings of the augmentation; None for other slices.
    """
    rows = tuple(_row(rule, report) for rule in _RULES)
    mark = _overall(rows)
    words = " ".join(_sentences(report, rows, mark))
    return Verdict(mark, words, rows, tuple(_advice(rows, order)))


def at(report: Report, path: str) -> Any:
    """Return the value at a path in a report, or None if there is none."""
    found: Any = report
    while path and isinstance(found, Mapping):
        # The name of a category may contain a dot.
        fitting = [name for name in found if f"{path}.".startswith(f"{name}.")]
        name = max(fitting, key=len, default=path)
        found, path = found.get(name), path[len(name) + 1 :]
    return None if path else found


def said(number: Any) -> str:
    """Format a number, or an estimate with its interval, as in all tables."""
    if isinstance(number, Mapping):
        value, low, high = (said(number[name]) for name in ("value", "low", "high"))
        return value if number["low"] is None else f"{value} ({low} to {high})"
    if number is None:
        return "not measured"
    if isinstance(number, int):
        return str(number)
    if number and (abs(number) < 0.001 or abs(number) >= 1e5):
        return f"{number:.1e}"
    return f"{number:.3f}" if abs(number) < 10 else f"{number:.1f}"


def _row(rule: _Rule, report: Report) -> Row:
    path, extractor = _worst(rule, report)
    found = at(report, path)
    measured = _is_measured(found)
    baseline = found["baseline"] if measured else None
    green, amber = rule.bounds(baseline)
    least, most = ("from", "below") if rule.high_is_good else ("up to", "above")
    bounds = f"green {least} {green:.2f}, red {most} {amber:.2f}"
    if rule.excess is not None:
        bounds += ", for the difference from real slices"
    mark, decisive = None, rule.decisive
    if measured:
        compared = at(report, rule.excess) if rule.excess is not None else found
        mark = rule.mark(compared)
        decisive = decisive or (rule.glaring is not None and rule.glaring.fits(found))
    return Row(path, rule.name, extractor, rule.question, mark, bounds, decisive)


def _worst(rule: _Rule, report: Report) -> tuple[str, str]:
    """Return the path of the number to judge, and the extractor that gives the worst one."""
    before, star, _ = rule.path.partition(".*")
    if not star:
        return rule.path, ""
    sign = 1 if rule.high_is_good else -1
    named = []
    for name in at(report, before) or ():
        path = rule.path.replace("*", name)
        found = at(report, path)
        named.append((sign * found["value"] if _is_measured(found) else math.inf, path, name))
    _, path, name = min(named, default=(0.0, rule.path, ""))
    return path, name


def _is_measured(found: Any) -> bool:
    return isinstance(found, Mapping) and found["value"] is not None


def _overall(rows: Sequence[Row]) -> str:
    """Return the mark of the set.

    A set may look different from the real one without doing harm, but a lost lesion does harm. A
    set that a small network recognises almost every time must be looked at before it is used.
    """
    if any(row.decisive and row.mark == "red" for row in rows):
        return "red"
    unknown = any(row.decisive and row.mark is None for row in rows)
    poor = any(row.mark in ("amber", "red") for row in rows)
    return "amber" if unknown or poor else "green"


_FIRST = {
    "green": "Nothing that was measured speaks against training with this set.",
    "amber": "Look at this set before you train with it.",
    "red": "Do not train with this set as it is.",
}


_GLARING = (
    "Do not train with this set without looking at it: even a small network tells its slices from "
    "real ones almost every time."
)


def _sentences(report: Report, rows: Sequence[Row], mark: str) -> Iterator[str]:
    deciding = {row.name for row in rows if row.decisive and row.mark == "red"}
    glaring = _NETWORK in deciding
    yield _GLARING if deciding == {_NETWORK} else _FIRST[mark]
    survival, copies, auc = (report[name] for name in ("lesion_survival", "copies", "auc"))
    if survival is None or survival["value"] is None:
        yield "Whether its findings still hold a lesion could not be measured."
    else:
        yield f"{_percent(survival)} of its labelled findings are still there."
    contrast = at(report, "labels.contrast")
    if glaring and _is_measured(contrast):
        yield f"They keep {_percent(contrast)} of their contrast."
    if copies is not None and copies["value"] is not None:
        yield _copied(copies)
    if auc is not None and auc["value"] is not None:
        yield _apart(auc)
    weak = [row.name.lower() for row in rows if row.mark == "red" and not row.decisive]
    if weak:
        yield f"Far from real slices: {', '.join(weak)}."


def _copied(copies: Mapping[str, float]) -> str:
    text = f"{_percent(copies)} of its slices are copies of a patient who is not declared in them"
    if copies["baseline"] is not None:
        text += f"; by the same measure, {100 * copies['baseline']:.0f} % of the real slices are"
    return f"{text}."


def _apart(auc: Mapping[str, float]) -> str:
    text = f"A small network tells synthetic from real slices with an AUC of {said(auc)}"
    if auc["baseline"] is not None:
        text += f"; it tells real slices from those of other patients with {said(auc['baseline'])}"
    if auc["low"] is not None and auc["high"] - auc["low"] > _WIDE:
        text += "; the interval is wide, because the patients are few"
    return f"{text}."


def _percent(estimate: Mapping[str, float]) -> str:
    text = f"{100 * estimate['value']:.0f} %"
    if estimate["low"] is None or not math.isfinite(estimate["low"]):
        return text
    return f"{text} ({100 * estimate['low']:.0f} to {100 * estimate['high']:.0f} %)"


def _advice(rows: Sequence[Row], order: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield advice on what to change, for each row that is not green."""
    weak = {row.name for row in rows if row.mark in ("amber", "red")}
    render = str((order or {}).get("render", ""))
    decoded = "decode" in render
    if "Lesion survival" in weak:
        yield (
            "Findings were lost. Render with transplant or warp, which keep the real pixels of a "
            "lesion, instead of decode."
            if decoded
            else "Findings were lost. Lower --strength, look at the lost ones below, and take them "
            "out of the training set."
        )
    if "Copies" in weak:
        yield (
            "Some slices show a patient who is not declared in them: look at the pairs below. If "
            "they are copies, leave them out of the set, or declare that patient and keep them on "
            "that patient's side of a split."
        )
    if weak & {_NETWORK, "Stronger classifier", "Features that differ", "Precision"}:
        yield (
            "The slices look different. A decode is smoother than any scan: render with warp, "
            "residual or transplant."
            if decoded
            else "The slices look different. Look at the activation maps for where; lower "
            "--strength, or try another --render. If lesions survive, a detector may still gain: "
            "train it with and without."
        )
    if "Coverage" in weak:
        yield (
            "Real slices have nothing synthetic near them. Draw from more patients or without "
            "--only-positive, or raise --strength."
        )
    if order is None and "Lesion survival" in weak | _unmeasured(rows):
        yield (
            "The sources of these slices are not known. For slices of 'medvae augment' give its "
            "folder, whose manifest names them; else give --synthetic-labels."
        )


def _unmeasured(rows: Sequence[Row]) -> set[str]:
    return {row.name for row in rows if row.mark is None}
