"""What a pipeline asks of a report: bounds such as ``auc>0.8`` that must not be met."""

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
    """One such bound.

    Attributes:
        text: as it was given.
        name: where the number is in the report, its parts with points between them.
        sign: how it is compared.
        limit: with what.
    """

    text: str
    name: str
    sign: str
    limit: float

    def number(self, report: Mapping[str, Any]) -> float | None:
        """Return the number in a report; None where it could not be measured.

        Raises:
            UsageProblem: the report has no number of this name.
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
    """Read bounds, as far as they can be checked before there is a report.

    Args:
        texts: as users give them.
        names: that a report has at its top.

    Raises:
        UsageProblem: one cannot be right.
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
    """Say which bounds a report breaks, a line each.

    A number that could not be measured breaks its bound: nobody has shown that it is kept.

    Raises:
        UsageProblem: the report has no number of a name.
    """
    said = []
    for bound in bounds:
        number = bound.number(report)
        if number is None:
            said.append(f"{bound.text}: {bound.name} could not be measured")
        elif _COMPARED[bound.sign](number, bound.limit):
            said.append(f"{bound.text}: {bound.name} is {number:.4g}")
    return tuple(said)
