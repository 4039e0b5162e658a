"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from medvae.formats import WRITERS

__all__ = [
    "BURNED_IN",
    "DEVICE",
    "EXISTING",
    "MODALITY",
    "MODEL",
    "OUT",
    "OUTLINES",
    "READERS",
    "ListedOption",
    "image_formats",
    "names",
]

EXISTING = click.Path(exists=True, path_type=Path)

MODEL = click.option(
    "--model",
    required=True,
    metavar="MODEL",
    help="Trained model: the folder that 'medvae train' wrote, or another trained bundle.",
)
OUT = click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Output folder, which must be empty or not exist yet.",
)
OUTLINES = click.option(
    "--outlines",
    type=EXISTING,
    help="Masks for the boxes of --labels; each box gets the mask that overlaps it best.",
)
MODALITY = click.option(
    "--modality", help="Modality of files that do not state one, such as MR or CT."
)
BURNED_IN = click.option(
    "--allow-burned-in",
    is_flag=True,
    help="Also use images whose headers report text burned into their pixels.",
)
DEVICE = click.option(
    "--device",
    metavar="D",
    help="Device to compute on, such as cpu or cuda:0.  [default: a GPU if there is one]",
)
READERS = click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Number of reading processes.  [default: one per processor, at most 8, as memory allows]",
)


def names(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    """Split a list of names at its commas."""
    return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


class ListedOption(click.Option):
    """Option whose help ends with the names that are registered when it is shown.

    Args:
        listed: Function that returns the names; only the help of the command calls it, so it may
            import what takes seconds.
    """

    def __init__(self, *args: Any, listed: Callable[[], Iterable[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lead, self._listed = self.help, listed

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option and its help."""
        self.help = f"{self._lead} {', '.join(self._listed())}."
        return super().get_help_record(ctx)


def image_formats(default: str) -> Callable[[Any], Any]:
    """Return the option ``--format``, which takes the names of image formats to write."""
    return click.option(
        "--format",
        "formats",
        cls=ListedOption,
        listed=lambda: WRITERS,
        default=default,
        show_default=True,
        metavar="F[,F]",
        callback=names,
        help="Image formats, comma-separated:",
    )
