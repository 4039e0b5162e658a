"""Names in figures: all are there, as they are written."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from medvae.auditing._figures import Drawing, clouds, densities

POINTS = np.array([[0.0, 0.0], [1.0, 1.0]])

NAMES = {
    "$\\frac{$": "$\\frac{$",
    "$x$": "$x$",
    "_hidden": " _hidden",
    "": " ",
    "\ud800": "\\ud800",
    "a\nb": "a\\nb",
    "\u5de6": "\\u5de6",
    "l\xe9sion": "l\xe9sion",
    "x" * 3000: "x" * 37 + "...",
}


def of_clouds(name: str) -> Drawing:
    return clouds({name: POINTS}, "x", "y")


def of_densities(name: str) -> Drawing:
    return densities(np.array([0.0, 1.0, 2.0]), {name: POINTS[0]}, "x")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("draw", [of_clouds, of_densities])
def test_legends(draw: Callable[[str], Drawing], name: str) -> None:
    drawing = draw(name)
    assert drawing.png
    assert drawing.uri
    legend = drawing._figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [NAMES[name]]
    assert not any(text.get_parse_math() for text in legend.get_texts())
