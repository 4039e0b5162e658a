"""The shape of progress callbacks."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "ignore_progress"]

Progress = Callable[[str, int, int, str], None]
"""Called with (stage, done, total, note) as work proceeds."""


def ignore_progress(stage: str, done: int, total: int, note: str) -> None:
    """Ignore progress."""
