"""Bounds such as ``auc>0.8`` that the numbers of a report must not meet."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medvae.errors import UsageProblem

__all__ = ["Bound", "broken", "parse_bounds"]

_FORM = re.compile(r"\s*([\w.-]+?)\s*(>=|<=|>|<)\s*(\S+)\s*")
_COMPARED = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Bound:
    """A bound on one number of a report.

    Attributes:
        text: The bound as it was given.
        name: Dotted path of the number in the report.
        sign: Comparison operator.
        limit: Value with which the number is compared.
    """

    text: str
    name: str
    sign: str
    limit: float

    def number(self, report: Mapping[str, Any]) -> float | None:
        """Return the number in a report, or None if it could not be measured.

        Raises:
            UsageProblem: If the report has no number of this name.
        """
        found: Any = report
        for place, part in enumerate(parts := self.name.split(".")):
            if not isinstance(found, Mapping) or part not in found:
                there = ".".join(parts[:place]) or "the report"
                names = ", ".join(found) if isinstance(found, Mapping) else "nothing"
                raise UsageProblem(
                    f"fail-if {self.text!r}: {there} has no {part!r}: it has {names}"
                )
            found = found[part]
            if found is None:
                return None
        if isinstance(found, Mapping):
            found = found.get("value", found)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise UsageProblem(f"fail-if {self.text!r}: {self.name} is no number in the report")
        return float(found)


def parse_bounds(texts: Iterable[str], names: Sequence[str]) -> tuple[Bound, ...]:
    """Parse bounds, and check them as far as is possible without a report.

    Args:
        texts: Bounds as the user gave them.
        names: Top-level names of a report.

    Raises:
        UsageProblem: If a bound is invalid.
    """
    return tuple(_parsed(text, names) for text in texts)


def _parsed(text: str, names: Sequence[str]) -> Bound:
    form = _FORM.fullmatch(text)
    try:
        limit = float(form[3]) if form else float("nan")
    except ValueError:
        limit = float("nan")
    if form is None or limit != limit:
        raise UsageProblem(f"fail-if {text!r}: give a name, a sign and a number, as in auc>0.8")
    if form[1].split(".")[0] not in names:
        raise UsageProblem(f"fail-if {text!r}: the report has no {form[1]!r}: {', '.join(names)}")
    return Bound(text.strip(), form[1], form[2], limit)


def broken(bounds: Iterable[Bound], report: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a line for each bound that a report breaks.

    A number that could not be measured breaks its bound, since nothing shows that it is kept.

    Raises:
        UsageProblem: If the report lacks the number of a bound.
    """
    said = []
    for bound in bounds:
        number = bound.number(report)
        if number is None:
            said.append(f"{bound.text}: {bound.name} could not be measured")
        elif _COMPARED[bound.sign](number, bound.limit):
            said.append(f"{bound.text}: {bound.name} is {number:.4g}")
    return tuple(said)
