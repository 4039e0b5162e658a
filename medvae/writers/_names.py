"""Names of slice files, made of position and key, never of the name of the source."""

from __future__ import annotations

from medvae.records import Series

__all__ = ["slice_names"]

_DIGITS = 4
"""Number of digits of a position in a series of unknown length."""


def slice_names(series: Series, place: int | None) -> list[tuple[int, str]]:
    """Return the position and the name, ``PLACE_KEY``, of each slice in the order of the series.

    Args:
        series: Series whose slices are named.
        place: Position of the first slice, from 1, if the slices are part of a longer series.
    """
    digits = len(str(len(series.slices))) if place is None else _DIGITS
    return [
        (number, f"{number:0{digits}}_{native.key}")
        for number, native in enumerate(series.slices, place or 1)
    ]
