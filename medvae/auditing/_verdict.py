"""The verdict: the numbers of a report compared with bounds, those of the rules and of users."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medvae.auditing._page import Report, at, expanded, is_measured
from medvae.auditing._registry import STATISTICS
from medvae.auditing._statistic import Rule
from medvae.errors import UsageProblem

_BOUND = re.compile(
    r"\s*(?P<name>[\w.-]+?)\s*(?P<sign>>=|<=|>|<)\s*"
    r"(?P<limit>[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?)\s*"
)
_COMPARED = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}

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
        name, description: Name of the number, and what it is.
        extractor: Kind of features that gives the worst number; empty if it is not of features.
        mark: One of ``green``, ``amber`` and ``red``; None if it could not be measured.
        bounds: The bounds in words.
        decisive: Whether red here makes the whole set red.
    """

    path: str
    name: str
    extractor: str
    description: str
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
    text = STATISTICS[name].numbers[rule.path]
    return VerdictRow(path, rule.name, extractor, text, mark, bounds, decisive)


def _worst(name: str, rule: Rule, report: Report) -> tuple[str, str]:
    """Return the path of the number to judge, and the kind of features that gives it."""
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


def parse_bounds(texts: Iterable[str]) -> list[re.Match[str]]:
    """Parse bounds such as ``auc>0.8``, and check them as far as is possible without a report.

    Raises:
        UsageProblem: If a bound is invalid.
    """
    bounds = []
    names = (*STATISTICS, "sets")
    for text in texts:
        bound = _BOUND.fullmatch(text)
        if bound is None:
            raise _wrong(text, "give a name, a sign and a number, as in auc>0.8")
        if bound["name"].split(".")[0] not in names:
            known = ", ".join(names)
            raise _wrong(text, f"the report has no {bound['name']!r}; choose from {known}")
        bounds.append(bound)
    return bounds


def _wrong(text: str, reason: str) -> UsageProblem:
    return UsageProblem(f"{text!r}: {reason}", parameter="fail_if")


def broken_bounds(bounds: Iterable[re.Match[str]], report: Report) -> tuple[str, ...]:
    """Return a line for each bound that a report breaks.

    A number that could not be measured breaks its bound, since nothing shows that it is kept.

    Raises:
        UsageProblem: If the report lacks the number of a bound.
    """
    lines = []
    for bound in bounds:
        text, name = bound.string.strip(), bound["name"]
        number = _number(text, name, report)
        if number is None:
            lines.append(f"{text}: {name} could not be measured")
        elif _COMPARED[bound["sign"]](number, float(bound["limit"])):
            lines.append(f"{text}: {name} is {number:.4g}")
    return tuple(lines)


def _number(text: str, name: str, report: Report) -> float | None:
    """Return the number of a bound, or None if it could not be measured."""
    found: Any = report
    for place, part in enumerate(parts := name.split(".")):
        if not isinstance(found, Mapping) or part not in found:
            parent = ".".join(parts[:place])
            names = ", ".join(found) if isinstance(found, Mapping) else "nothing"
            raise _wrong(text, f"{parent} has no {part!r}; it has {names}")
        found = found[part]
        if found is None:
            return None
    found = found.get("value", found) if isinstance(found, Mapping) else found
    if isinstance(found, bool) or not isinstance(found, int | float | None):
        raise _wrong(text, f"{name} is not a number in the report")
    return found
