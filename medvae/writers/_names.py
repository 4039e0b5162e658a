"""What files of slices are called: by place and key, never by what the source is called."""

from __future__ import annotations

from medvae.records import Series

__all__ = ["slice_names"]

_DIGITS = 4
"""Of places in a series whose length is not known."""


def slice_names(series: Series, place: int | None) -> list[tuple[int, str]]:
    """Return the place and the name of each slice, ``PLACE_KEY``, in the order of the series.

    Args:
        series: its slices.
        place: where these slices are a part of a longer series, the place of the first, from 1.
    """
    digits = len(str(len(series.slices))) if place is None else _DIGITS
    return [
        (number, f"{number:0{digits}}_{native.key}")
        for number, native in enumerate(series.slices, place or 1)
    ]
