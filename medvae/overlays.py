"""What HTML pages share: their head, and small pictures of slices with findings over them."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Iterator
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medvae.errors import UsageProblem
from medvae.intensity import Canvas
from medvae.records import Finding

__all__ = ["COLOURS", "check_replaceable", "drawn", "head", "png", "safe"]

# Okabe and Ito's colours that stand out on grey, and that the colour-blind can tell apart.
COLOURS = ("#f0e442", "#56b4e9", "#e69f00", "#cc79a7", "#00c896", "#ff6a3d")


_BEGINNING = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="monai-medvae">
"""
"""Of each page, by which it is known again."""


def head(title: str, style: str) -> str:
    """Begin a page that loads nothing and runs nothing."""
    checksum = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"""{_BEGINNING}<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'sha256-{checksum}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{safe(title)}</title>
<style>{style}</style>
</head>"""


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


def drawn(finding: Finding, canvas: Canvas, colour: str) -> str:
    """The box of a finding and the outline of its mask, as SVG in canvas coordinates."""
    ((x0, y0, x1, y1),) = canvas.boxes(np.array([finding.box]))
    outline = ""
    if finding.mask is not None:
        path = _outline(canvas.mask(finding.mask.on(canvas.native)))
        outline = f'<path d="{path}"/>'
    return (
        f'<g stroke="{colour}"><title>{safe(finding.category.name)}</title>{outline}'
        f'<rect x="{x0:.2f}" y="{y0:.2f}" width="{x1 - x0:.2f}" height="{y1 - y0:.2f}"/></g>'
    )


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


def png(image: NDArray[np.float32]) -> str:
    """Encode an image, ``[rows, columns]`` in [0, 1], as a data URI."""
    file = io.BytesIO()
    Image.fromarray((image * 255).round().astype(np.uint8)).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def safe(text: str) -> str:
    """Make text from a file safe in HTML; JSON can hold half a character, UTF-8 cannot."""
    return escape(text.encode("utf-8", "replace").decode())
