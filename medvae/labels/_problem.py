"""What is said of a label that could not be used as it stands."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Problem", "UnusableError"]


@dataclass(frozen=True)
class Problem:
    """A label that could not be used as it stands.

    Attributes:
        where: the record, such as ``coco.json, annotation 12``.
        what: what is wrong with it, and what was done.
    """

    where: str
    what: str


class UnusableError(Exception):
    """One record cannot be used, for the reason in the text; it ends as a `Problem`."""
