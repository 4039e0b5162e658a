"""Problems with labels that could not be used as they stand."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from medvae.records import Slice

__all__ = ["Problem", "UnplacedError", "UnusableError", "folded"]

_NAMED = re.compile(r"""'[^']*'|"[^"]*"|\d+""")
"""Names and numbers, in which problems of the same kind differ."""


@dataclass(frozen=True)
class Problem:
    """A label that could not be used as it stands, described in one line of printable text.

    Attributes:
        where: Name of the record, such as ``coco.json, annotation 12``.
        what: Description of what is wrong with it, and of what was done.
    """

    where: str
    what: str

    def __post_init__(self) -> None:
        # The text includes names of files and categories, which may contain any character.
        object.__setattr__(self, "where", _printable(self.where))
        object.__setattr__(self, "what", _printable(self.what))


class UnusableError(Exception):
    """Error for a record that cannot be used; its text becomes a `Problem`."""


class UnplacedError(UnusableError):
    """Error for a record that cannot be used because its slice is unknown.

    Attributes:
        among: Slices to which the record may belong; None for all that the file refers to.
    """

    def __init__(self, what: str, among: Sequence[Slice] | None = None) -> None:
        super().__init__(what)
        self.among = among


def folded(problems: Iterable[Problem]) -> Iterator[str]:
    """Yield one line for each group of similar problems: the first, and the number of others.

    Otherwise, the labels of a cohort of which only a part is present would hide everything else.
    """
    alike = defaultdict(list)
    for problem in problems:
        alike[_NAMED.sub("", problem.what)].append(problem)
    for first, *others in alike.values():
        more = f" (and {len(others)} more like this)" if others else ""
        yield f"{first.where}: {first.what}{more}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
