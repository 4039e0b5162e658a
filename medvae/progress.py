"""The callback by which long work reports its progress."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "ignore_progress"]

Progress = Callable[[str, int, int, str], None]
"""Function that is called with ``(stage, done, total, note)`` as work proceeds.

``stage`` names the work for users, such as "Reading headers"; ``done`` counts up to ``total``
within the stage, and ``note`` is shown beside the counts.
"""


def ignore_progress(stage: str, done: int, total: int, note: str) -> None:
    """Ignore progress."""
