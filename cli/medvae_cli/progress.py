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
    remaining = list(labels)
    bar: click._termui_impl.ProgressBar[int] | None = None

    def tell(done: int, total: int) -> None:
        nonlocal bar
        if bar is None or done <= bar.pos:
            if bar is not None:
                bar.render_finish()
            label = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            hidden = not sys.stderr.isatty()
            bar = click.progressbar(
                length=total, label=label, file=sys.stderr, hidden=hidden, show_pos=True
            )
        bar.update(done - bar.pos)

    try:
        yield tell
    finally:
        if bar is not None:
            bar.render_finish()


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
