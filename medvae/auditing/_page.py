"""How the numbers of a report are looked up and written, and the building blocks of its pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from medvae.auditing._decoded import DecodedSet
from medvae.pages import SlicePicture, colours_of, found

Report = Mapping[str, Any]
"""The content of ``report.json``."""


class ReportCell(NamedTuple):
    """A number of the report as text, with its path in the report."""

    text: str
    path: str


class PageSection(NamedTuple):
    """A section of a page: its name in links, its heading, and its content."""

    anchor: str
    title: str
    parts: tuple[Markup, ...]


def at(report: Report, path: str) -> Any:
    """Return the value at a path in a report, or None if there is none."""
    found: Any = report
    while path and isinstance(found, Mapping):
        # The name of a category may contain a dot.
        fitting = [name for name in found if f"{path}.".startswith(f"{name}.")]
        name = max(fitting, key=len, default=path)
        found, path = found.get(name), path[len(name) + 1 :]
    return None if path else found


def expanded(report: Report, path: str) -> dict[str, str]:
    """Return the paths that are in a report, by the name that ``*`` stands for in each.

    Args:
        report: Numbers by name.
        path: Path with a ``*`` for any name, or without one.
    """
    before, star, after = path.partition("*")
    if not star:
        return {} if at(report, path) is None else {"": path}
    paths = {name: f"{before}{name}{after}" for name in at(report, before.rstrip(".")) or ()}
    return {name: full for name, full in paths.items() if at(report, full) is not None}


def is_measured(found: Any) -> bool:
    """Return whether a value of the report is an estimate with a value."""
    return isinstance(found, Mapping) and found.get("value") is not None


def formatted(number: Any) -> str:
    """Format a number, or an estimate with its interval, as in all tables."""
    if isinstance(number, Mapping):
        value, low, high = (formatted(number[name]) for name in ("value", "low", "high"))
        return value if number["low"] is None else f"{value} ({low} to {high})"
    if number is None:
        return "not measured"
    if isinstance(number, int):
        return str(number)
    if number and (abs(number) < 0.001 or abs(number) >= 1e5):
        return f"{number:.1e}"
    return f"{number:.3f}" if abs(number) < 10 else f"{number:.1f}"


def percentage(estimate: Mapping[str, float]) -> str:
    """Format an estimate of a share with its interval, in percent."""
    text = f"{100 * estimate['value']:.0f} %"
    if estimate["low"] is None:
        return text
    return f"{text} ({100 * estimate['low']:.0f} to {100 * estimate['high']:.0f} %)"


def cell(report: Report, path: str) -> ReportCell:
    """Return a table cell with a number of the report and its path."""
    return ReportCell(formatted(at(report, path)), path)


def slice_picture(side: DecodedSet, row: int, name: str) -> tuple[str, SlicePicture]:
    """Return a name and a picture of a slice with its findings."""
    findings = side.set.slices[row].native.labels or ()
    image = np.asarray(side.pool.pictures[row], dtype=np.float32) / np.float32(255)
    colours = colours_of(side.set.categories)
    alt = f"{name}: {found(findings)}"
    return name, SlicePicture.of(image, side.canvases[row], findings, colours, alt)


def short_key(side: DecodedSet, row: int) -> Markup:
    """Return the beginning of the key of a slice."""
    return Markup("<code>{}</code>").format(side.set.slices[row].native.key[:8])
