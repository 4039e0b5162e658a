"""Problems with labels that could not be used as they stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from medvae.notices import alike, printable
from medvae.records import Slice

__all__ = ["Problem", "UnplacedError", "UnusableError", "folded"]


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
        object.__setattr__(self, "where", printable(self.where))
        object.__setattr__(self, "what", printable(self.what))


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
    for (where, what), *others in alike((problem.where, problem.what) for problem in problems):
        more = f" (and {len(others)} more like this)" if others else ""
        yield f"{where}: {what}{more}"
