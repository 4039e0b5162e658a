"""What is said of a label that could not be used as it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medvae.records import Slice

__all__ = ["Problem", "UnplacedError", "UnusableError"]


@dataclass(frozen=True)
class Problem:
    """A label that could not be used as it stands, told in printable text of one line.

    Attributes:
        where: the record, such as ``coco.json, annotation 12``.
        what: what is wrong with it, and what was done.
    """

    where: str
    what: str

    def __post_init__(self) -> None:
        # Names of files and categories are in it, and those may hold anything.
        object.__setattr__(self, "where", _printable(self.where))
        object.__setattr__(self, "what", _printable(self.what))


class UnusableError(Exception):
    """One record cannot be used, for the reason in the text; it ends as a `Problem`."""


class UnplacedError(UnusableError):
    """One record cannot be used because it is not known which slice it is of.

    Attributes:
        among: the slices of which it may be; None: all that the file speaks of.
    """

    def __init__(self, what: str, among: Sequence[Slice] | None = None) -> None:
        super().__init__(what)
        self.among = among


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
