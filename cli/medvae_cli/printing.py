"""Formatting of text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from medvae.notices import alike, printable

__all__ = ["folded", "not_used", "printable"]

_FEW = 5
_MANY = 20
_EXAMPLES = 3


def folded(
    what: str, files: Iterable[tuple[object, str]], many: int = _MANY, noun: str = "files"
) -> Iterator[str]:
    """Yield the outcomes of files: a line for each, or one line for many with the same reason.

    Args:
        what: Outcome of the files, such as "refused".
        files: Pairs of a file and the reason.
        many: Number above which files with reasons of one kind are folded into one line.
        noun: Plural noun for the entries, if they are not files.
    """
    for kind in alike((str(file), reason) for file, reason in files):
        if len(kind) <= many:
            yield from (f"  {what} {file}: {reason}" for file, reason in kind)
            continue
        shown = ", ".join(file for file, _ in kind[:_EXAMPLES])
        more = " (and the like)" if len({reason for _, reason in kind}) > 1 else ""
        yield f"  {what} {len(kind)} {noun}, such as {shown}: {kind[0][1]}{more}"


def not_used(problems: Sequence[str]) -> Iterator[str]:
    """Yield the first few problems with files and labels, and the number of the others."""
    yield from (f"  not used: {problem}" for problem in problems[:_FEW])
    if len(problems) > _FEW:
        yield f"  and {len(problems) - _FEW} more that could not be used"
