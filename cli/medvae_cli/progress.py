"""Progress bars on standard error, hidden where that is not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

__all__ = ["progress_bar", "progress_bars"]


@contextmanager
def progress_bar(*labels: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function to call with (done, total) as work proceeds.

    Args:
        labels: Label of each phase; the next phase begins when the count starts again.
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
    """Yield a function to call with (label, done, total, note) as work proceeds."""
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
