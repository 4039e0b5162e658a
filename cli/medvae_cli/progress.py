"""Progress on standard error, and none where that is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

__all__ = ["progress_bar", "progress_bars"]


@contextmanager
def progress_bar(*labels: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function that is told how many of how many are done.

    Args:
        labels: what is done, phase by phase: each new count from one begins the next phase.
    """
    phase = last = 0

    with progress_bars() as tell_of:

        def tell(done: int, total: int) -> None:
            nonlocal phase, last
            if last and done <= last:
                phase = min(phase + 1, len(labels) - 1)
            last = done
            tell_of(labels[phase], done, total, "")

        yield tell


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int, str], None]]:
    """Give a function that is told what is done, how many of how many, and a word beside it."""
    bar: click._termui_impl.ProgressBar[str] | None = None

    def tell(what: str, done: int, total: int, beside: str) -> None:
        nonlocal bar
        if bar is None or bar.label != what or done < bar.pos:
            if bar is not None:
                bar.render_finish()
            bar = click.progressbar(
                length=total,
                label=what,
                file=sys.stderr,
                hidden=not sys.stderr.isatty(),
                show_pos=True,
                item_show_func=lambda item: item,
            )
        bar.update(done - bar.pos, beside)

    try:
        yield tell
    finally:
        if bar is not None:
            bar.render_finish()
