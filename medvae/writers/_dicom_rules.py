"""Rules for values that may be copied from a DICOM header: numbers and known words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence, Set

from pydicom.valuerep import format_number_as_ds

__all__ = ["Rule", "about", "count", "directions", "exact", "word", "words"]

Rule = Callable[[Sequence[str]], list[str]]
"""Takes the values of an attribute and returns those that may be copied."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

_LONGEST = 16
"""Maximum number of characters of a decimal string."""


def words(known: Set[str]) -> Rule:
    """Return a rule that passes all known words."""
    return lambda values: [value for value in values if value in known]


def word(known: Set[str]) -> Rule:
    """Return a rule that passes the first word if it is known."""
    return lambda values: [value for value in values[:1] if value in known]


def exact(count: int) -> Rule:
    """Return a rule that passes ``count`` numbers as written, or rounded if they are too long."""

    def rule(values: Sequence[str]) -> list[str]:
        numbers = [_decimal(value) for value in values]
        return numbers if len(numbers) == count and all(numbers) else []

    return rule


def about(low: float, high: float) -> Rule:
    """Return a rule that passes a number between limits, rounded to six significant digits."""

    def rule(values: Sequence[str]) -> list[str]:
        found = [float(value) for value in values[:1] if _decimal(value)]
        return [f"{value:.6g}" for value in found if low < value < high]

    return rule


def count(values: Sequence[str]) -> list[str]:
    """Pass an integer of a few digits."""
    return [str(int(value)) for value in values[:1] if re.fullmatch("[0-9]{1,4}", value)]


def directions(values: Sequence[str]) -> list[str]:
    """Pass two directions in the patient, such as ``A`` and ``FL``."""
    good = len(values) == 2 and all(re.fullmatch("[AFHLPR]{1,3}", value) for value in values)
    return list(values) if good else []


def _decimal(text: str) -> str:
    """Return a number as a decimal string, or an empty string if the text is not a number."""
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        return ""
    return text if len(text) <= _LONGEST else format_number_as_ds(float(text))
