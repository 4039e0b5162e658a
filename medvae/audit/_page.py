"""Building blocks of the pages of an audit: sections, tables, figures and rows of pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup

from medvae.audit._figures import Drawing
from medvae.audit._verdict import at, said
from medvae.pages import part, render

__all__ = [
    "ReportCell",
    "Section",
    "cell",
    "drawing",
    "gallery",
    "numbers",
    "page",
    "paragraph",
    "table",
]


class ReportCell(NamedTuple):
    """A number of the report in a table.

    Attributes:
        text: The number as text.
        path: Path of the number in the report.
    """

    text: str
    path: str


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        anchor: Its name in links.
        title: Its heading.
        parts: Its content.
    """

    anchor: str
    title: str
    parts: tuple[Markup, ...]


def page(
    title: str, summary: str, sections: Sequence[Section], opening: Iterable[Markup] = ()
) -> str:
    """Return a page as HTML.

    Args:
        title: Title of the page.
        summary: A line below the title.
        sections: Sections in order.
        opening: Content before the sections.
    """
    return render(
        "sections", title=title, summary=summary, sections=sections, opening=list(opening)
    )


def paragraph(text: str) -> Markup:
    """Return a paragraph."""
    return part("paragraph", text)


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[str | ReportCell]]
) -> Markup:
    """Return a table; the first cell of each row is its head."""
    return part("table", caption, columns, list(rows))


def cell(report: Mapping[str, Any], path: str) -> ReportCell:
    """Return a table cell with a number of the report and its path."""
    return ReportCell(said(at(report, path)), path)


def numbers(
    report: Mapping[str, Any], caption: str, rows: Mapping[str, str], what: str = "measure"
) -> Markup:
    """Return a table of estimates beside their baselines.

    Args:
        report: The report that holds them.
        caption: Caption of the table.
        rows: Path of each estimate by its name; paths that are not in the report are left out.
        what: Heading of the column of names.
    """
    return table(
        caption,
        (what, "synthetic against real", "real against real"),
        [
            (name, cell(report, path), cell(report, f"{path}.baseline"))
            for name, path in rows.items()
            if at(report, path) is not None
        ],
    )


def drawing(figure: Drawing, alternative: str, caption: str = "") -> Markup:
    """Return a figure for the page."""
    return part("drawing", figure.uri, alternative, caption)


def gallery(kind: str, items: Iterable[Markup]) -> Markup:
    """Return figures arranged side by side."""
    return part("gallery", kind, list(items))
