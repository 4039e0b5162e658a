"""Progress bars on standard error, hidden where that is not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import click

from medvae.progress import Progress

__all__ = ["progress_bars"]


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Yield a function to call with (stage, done, total, note) as work proceeds.

    A new bar begins with each stage, and when the count starts again.
    """
    update: Callable[[int, str], None] | None = None
    shown, position = "", 0

    with ExitStack() as stack:

        def tell(stage: str, done: int, total: int, note: str) -> None:
            nonlocal update, shown, position
            if update is None or stage != shown or done < position:
                stack.close()
                bar = stack.enter_context(
                    click.progressbar(
                        length=total,
                        label=stage,
                        file=sys.stderr,
                        hidden=not sys.stderr.isatty(),
                        show_pos=True,
                        item_show_func=lambda item: item,
                    )
                )
                update, shown, position = bar.update, stage, 0
            update(done - position, note)
            position = done

        yield tell
