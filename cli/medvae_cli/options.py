"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["BURNED_IN", "DEVICE", "EXISTING", "MODALITY", "MODEL", "OUT", "OUTLINES", "READERS"]

EXISTING = click.Path(exists=True, path_type=Path)

MODEL = click.option(
    "--model", required=True, metavar="RUN", help="What 'medvae train' wrote, or a bundle like it."
)
OUT = click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for the results: empty, or not there yet.",
)
OUTLINES = click.option(
    "--outlines",
    type=EXISTING,
    help="Masks for the boxes of --labels: each box gets the one that overlaps it best.",
)
MODALITY = click.option("--modality", help="Modality of files that do not say, such as MR or CT.")
BURNED_IN = click.option(
    "--allow-burned-in",
    is_flag=True,
    help="Use images whose headers say that text is burned into their pixels, too.",
)
DEVICE = click.option(
    "--device", metavar="D", help="Such as cpu or cuda:0.  [default: a GPU where there is one]"
)
READERS = click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Processes that read.  [default: one for each processor, 8 at most, as memory allows]",
)
