"""The verdict: the numbers of a report compared with bounds, in words, with advice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medvae.auditing._page import Report, at, expanded, is_measured
from medvae.auditing._registry import STATISTICS
from medvae.auditing._statistic import Rule

__all__ = ["AuditVerdict", "VerdictRow", "judge"]

_OPENINGS = {
    "green": "Nothing that was measured speaks against training with this set.",
    "amber": "Look at this set before you train with it.",
    "red": "Do not train with this set as it is.",
}


@dataclass(frozen=True)
class VerdictRow:
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
class AuditVerdict:
    """The overall verdict on a synthetic set.

    Attributes:
        mark: One of ``green``, ``amber`` and ``red``.
        words: The verdict in one paragraph.
        rows: Numbers with their bounds.
        advice: Changes to make, one or two sentences each.
    """

    mark: str
    words: str
    rows: tuple[VerdictRow, ...]
    advice: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the verdict for the report."""
        return {
            "mark": self.mark,
            "words": self.words,
            "rows": [vars(row) for row in self.rows],
            "advice": list(self.advice),
        }


def judge(report: Report, augmentation: Mapping[str, Any] | None) -> AuditVerdict:
    """Judge a report by the rules of all statistics.

    Args:
        report: Numbers of the report.
        augmentation: Settings of the augmentation that made the set; None for other slices.
    """
    rules = [(name, rule) for name, one in STATISTICS.items() for rule in one.rules]
    rows = tuple(_row(name, rule, report) for name, rule in rules)
    judged = [(rule, row) for (_, rule), row in zip(rules, rows, strict=True)]
    mark = _overall(rows)
    words = " ".join(_sentences(report, judged, mark))
    advice = (text for rule, row in judged for text in rule.changes(row.mark, augmentation))
    return AuditVerdict(mark, words, rows, tuple(dict.fromkeys(advice)))


def _row(name: str, rule: Rule, report: Report) -> VerdictRow:
    path, extractor = _worst(name, rule, report)
    found = at(report, path)
    baseline = found["baseline"] if is_measured(found) else None
    green, amber = rule.bounds(baseline)
    least, most = ("from", "below") if rule.high_is_good else ("up to", "above")
    bounds = f"green {least} {green:.2f}, red {most} {amber:.2f}"
    if rule.excess is not None:
        bounds += ", for the difference from real slices"
    mark, decisive = None, rule.decisive
    if is_measured(found):
        compared = at(report, f"{name}.{rule.excess}") if rule.excess is not None else found
        mark, decisive = rule.mark(compared), rule.decides(found)
    return VerdictRow(path, rule.name, extractor, rule.question, mark, bounds, decisive)


def _worst(name: str, rule: Rule, report: Report) -> tuple[str, str]:
    """Return the path of the number to judge, and the extractor that gives the worst one."""
    path = f"{name}.{rule.path}".removesuffix(".")
    sign = 1 if rule.high_is_good else -1
    measured = [
        (sign * at(report, full)["value"], full, extractor)
        for extractor, full in expanded(report, path).items()
        if is_measured(at(report, full))
    ]
    _, path, extractor = min(measured, default=(0.0, path, ""))
    return path, extractor


def _overall(rows: Sequence[VerdictRow]) -> str:
    """Return the mark of the set.

    A set may look different from the real one without doing harm, but a lost lesion does harm. A
    set that a small network recognises almost every time must be looked at before it is used.
    """
    if any(row.decisive and row.mark == "red" for row in rows):
        return "red"
    unknown = any(row.decisive and row.mark is None for row in rows)
    poor = any(row.mark in ("amber", "red") for row in rows)
    return "amber" if unknown or poor else "green"


def _sentences(
    report: Report, judged: Sequence[tuple[Rule, VerdictRow]], mark: str
) -> Iterator[str]:
    deciding = [rule for rule, row in judged if row.decisive and row.mark == "red"]
    yield (deciding[0].opening if len(deciding) == 1 else "") or _OPENINGS[mark]
    for name, statistic in STATISTICS.items():
        yield from statistic.sentences(report.get(name))
    poor = [row.name.lower() for _, row in judged if row.mark == "red" and not row.decisive]
    if poor:
        yield f"Far from real slices: {', '.join(poor)}."
