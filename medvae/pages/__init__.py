"""HTML pages: one look, and one way to show a slice with its findings.

A page loads nothing and runs nothing. Everything that a template is given is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from medvae.errors import UsageProblem
from medvae.intensity import Canvas
from medvae.records import Finding

__all__ = [
    "Mark",
    "SlicePicture",
    "check_replaceable",
    "colours_of",
    "found",
    "part",
    "png",
    "render",
]

# Okabe and Ito's colours that stand out on grey, and that the colour-blind can tell apart.
_COLOURS = ("#f0e442", "#56b4e9", "#e69f00", "#cc79a7", "#00c896", "#ff6a3d")

_BEGINNING = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="monai-medvae">
"""
"""Of each page, by which it is recognised."""


@dataclass(frozen=True)
class Mark:
    """A finding as it is drawn over a slice, in pixels of the picture.

    Attributes:
        name: Name of the category.
        colour: Colour of the lines.
        box: x, y, width and height.
        outline: An SVG path around its mask; empty if it has none.
    """

    name: str
    colour: str
    box: tuple[float, float, float, float]
    outline: str


@dataclass(frozen=True)
class SlicePicture:
    """A slice with its findings, as the macro ``slice_picture`` shows it.

    Attributes:
        uri: The picture as a data URI.
        side: Side of the picture in pixels.
        alt: What it shows, for those who do not see it.
        marks: The findings.
    """

    uri: str
    side: int
    alt: str
    marks: tuple[Mark, ...]

    @classmethod
    def of(
        cls,
        image: NDArray[np.float32],
        canvas: Canvas,
        findings: Iterable[Finding],
        colours: Mapping[str, str],
        alt: str,
    ) -> SlicePicture:
        """Draw findings over an image.

        Args:
            image: ``[side, side]`` in [0, 1].
            canvas: Where the slice lies on the image.
            findings: What is on the slice.
            colours: Colour of each category, by name.
            alt: What the picture shows.
        """
        marks = tuple(
            _mark(finding, canvas, colours[finding.category.name]) for finding in findings
        )
        return cls(png(image), canvas.size, alt, marks)


def render(template: str, **context: Any) -> str:
    """Render a page.

    Args:
        template: Its name without ``.html``.
        context: What the template shows.

    Returns:
        The HTML, which is valid UTF-8: names from files may hold half a character.
    """
    html = _environment().get_template(f"{template}.html").render(**context)
    return html.encode("utf-8", "replace").decode()


def part(name: str, *arguments: Any) -> Markup:
    """Render a macro of ``parts.html``, to be set into a page."""
    macros: Any = _environment().get_template("parts.html").module
    return Markup(getattr(macros, name)(*arguments))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medvae.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    digest = hashlib.sha256(style.encode()).digest()
    environment.globals |= {
        "beginning": Markup(_BEGINNING),
        "style": Markup(style),
        "checksum": base64.b64encode(digest).decode(),
    }
    return environment


def check_replaceable(path: Path) -> None:
    """Make sure that a page can be written to a path without harm to what others wrote there.

    Raises:
        UsageProblem: There is something that is not a page of this package.
    """
    try:
        if not os.path.lexists(path):
            return
        # What is no regular file, such as a pipe, is not opened: that could wait for ever.
        if path.is_file():
            with path.open("rb") as file:
                if file.read(len(_BEGINNING)) == _BEGINNING.encode():
                    return
    except OSError as error:
        raise UsageProblem(f"{path}: cannot be looked at: {error.strerror}") from error
    raise UsageProblem(
        f"{path}: is there already and is not a page that medvae wrote: choose another name"
    )


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Give each category a colour, in the order of their names."""
    return {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}


def found(findings: Iterable[Finding]) -> str:
    """Return the names of the categories of findings, or that there is no finding."""
    return ", ".join(sorted({finding.category.name for finding in findings})) or "no finding"


def png(image: NDArray[np.float32]) -> str:
    """Encode an image, ``[rows, columns]`` in [0, 1], as a data URI."""
    file = io.BytesIO()
    Image.fromarray((image * 255).round().astype(np.uint8)).save(file, "PNG", compress_level=4)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _mark(finding: Finding, canvas: Canvas, colour: str) -> Mark:
    ((x0, y0, x1, y1),) = canvas.boxes(np.array([finding.box])).tolist()
    outline = ""
    if finding.mask is not None:
        outline = _outline(canvas.mask(finding.mask.on(canvas.native)))
    return Mark(finding.category.name, colour, (x0, y0, x1 - x0, y1 - y0), outline)


def _outline(mask: NDArray[np.bool_]) -> str:
    """The pixel edges between what is set in ``mask``, ``[rows, columns]``, and what is not."""
    padded = np.pad(mask, 1).astype(np.int8)
    lying = _runs(np.diff(padded, axis=0)[:, 1:-1] != 0)
    standing = _runs(np.diff(padded, axis=1)[1:-1].T != 0)
    return "".join(
        [f"M{start} {row}h{length}" for row, start, length in lying]
        + [f"M{column} {start}v{length}" for column, start, length in standing]
    )


def _runs(edges: NDArray[np.bool_]) -> Iterator[tuple[int, int, int]]:
    """Row, start and length of each run of what is set in a row of ``edges``."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    return zip(rows.tolist(), starts.tolist(), (ends - starts).tolist(), strict=True)
