"""What is said of a label that could not be used as it stands."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from medvae.records import Slice

__all__ = ["Problem", "UnplacedError", "UnusableError", "folded"]

_NAMED = re.compile(r"""'[^']*'|"[^"]*"|\d+""")
"""What tells problems of one sort apart: names and numbers."""


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


def folded(problems: Iterable[Problem]) -> Iterator[str]:
    """Yield a line for all problems that are alike, which names the first and counts the others.

    Otherwise the labels of a whole cohort, of which a part is there, would drown everything else.
    """
    alike = defaultdict(list)
    for problem in problems:
        alike[_NAMED.sub("", problem.what)].append(problem)
    for first, *others in alike.values():
        more = f" (and {len(others)} more like this)" if others else ""
        yield f"{first.where}: {first.what}{more}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
