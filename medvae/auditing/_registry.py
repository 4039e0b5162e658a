"""The statistics of the audit, and the bounds that users can set on their numbers."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from medvae.auditing._page import Report
from medvae.auditing._statistic import Statistic
from medvae.auditing.boxes import BoxDistributions
from medvae.auditing.copies import CopiedSlices
from medvae.auditing.distances import FeatureDistances
from medvae.auditing.diversity import Diversity
from medvae.auditing.feature_classifier import FeatureClassifier
from medvae.auditing.feature_tests import FeatureTests
from medvae.auditing.latent_space import LatentSpace
from medvae.auditing.lesion_survival import LesionSurvival
from medvae.auditing.small_network import SmallNetwork
from medvae.errors import UsageProblem

__all__ = ["STATISTICS", "Bound", "broken_bounds", "number_names", "parse_bounds"]

STATISTICS: dict[str, Statistic[Any]] = {
    statistic.name: statistic
    for statistic in (
        LesionSurvival(),
        BoxDistributions(),
        CopiedSlices(),
        SmallNetwork(),
        FeatureClassifier(),
        FeatureTests(),
        FeatureDistances(),
        Diversity(),
        LatentSpace(),
    )
}
"""All statistics by name, in the order of the report."""

_SETS = "sets"
"""The sizes of the sets, which are in the report too."""

_FORM = re.compile(r"\s*([\w.-]+?)\s*(>=|<=|>|<)\s*(\S+)\s*")
_COMPARED = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}


def number_names() -> dict[str, str]:
    """Return the names of the numbers that bounds can be set on, with descriptions.

    In a name, ``*`` stands for an extractor, a category or a size.
    """
    return {
        f"{name}.{path}".removesuffix("."): description
        for name, statistic in STATISTICS.items()
        for path, description in statistic.numbers.items()
    }


class Bound(NamedTuple):
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


def parse_bounds(texts: Iterable[str]) -> list[Bound]:
    """Parse bounds such as ``auc>0.8``, and check them as far as is possible without a report.

    Raises:
        UsageProblem: If a bound is invalid.
    """
    bounds = []
    names = (*STATISTICS, _SETS)
    for text in texts:
        form = _FORM.fullmatch(text)
        if form is None or not _is_number(form[3]):
            raise _wrong(text, "give a name, a sign and a number, as in auc>0.8")
        if form[1].split(".")[0] not in names:
            raise _wrong(text, f"the report has no {form[1]!r}; choose from {', '.join(names)}")
        bounds.append(Bound(text.strip(), form[1], form[2], float(form[3])))
    return bounds


def _wrong(text: str, reason: str) -> UsageProblem:
    return UsageProblem(f"{text!r}: {reason}", parameter="fail_if")


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False


def broken_bounds(bounds: Iterable[Bound], report: Report) -> tuple[str, ...]:
    """Return a line for each bound that a report breaks.

    A number that could not be measured breaks its bound, since nothing shows that it is kept.

    Raises:
        UsageProblem: If the report lacks the number of a bound.
    """
    lines = []
    for bound in bounds:
        number = _number(bound, report)
        if number is None:
            lines.append(f"{bound.text}: {bound.name} could not be measured")
        elif _COMPARED[bound.sign](number, bound.limit):
            lines.append(f"{bound.text}: {bound.name} is {number:.4g}")
    return tuple(lines)


def _number(bound: Bound, report: Report) -> float | None:
    """Return the number of a bound, or None if it could not be measured."""
    found: Any = report
    for place, part in enumerate(parts := bound.name.split(".")):
        if not isinstance(found, Mapping) or part not in found:
            parent = ".".join(parts[:place])
            names = ", ".join(found) if isinstance(found, Mapping) else "nothing"
            raise _wrong(bound.text, f"{parent} has no {part!r}; it has {names}")
        found = found[part]
        if found is None:
            return None
    found = found.get("value", found) if isinstance(found, Mapping) else found
    if isinstance(found, bool) or not isinstance(found, int | float | None):
        raise _wrong(bound.text, f"{bound.name} is not a number in the report")
    return found
