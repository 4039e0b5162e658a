"""``medvae denoise``: write studies as a trained model reconstructs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medvae_cli.options import (
    BURNED_IN,
    DEVICE,
    EXISTING,
    MODALITY,
    MODEL,
    OUT,
    READERS,
    image_formats,
)
from medvae_cli.printing import folded, printable
from medvae_cli.progress import progress_bars

if TYPE_CHECKING:
    from medvae.denoising import Denoised

__all__ = ["denoise"]

_FEW = 3
"""Up to this many failures for the same reason are listed by name; more are counted."""


@click.command()
@click.argument("studies", nargs=-1, required=True, metavar="STUDIES...", type=EXISTING)
@MODEL
@OUT
@image_formats("nifti")
@MODALITY
@BURNED_IN
@DEVICE
@READERS
@click.pass_context
def denoise(ctx: click.Context, /, studies: tuple[Path, ...], out: Path, **options: Any) -> None:
    """Replace slices by their reconstructions.

    Reconstructions have the size and the units of their slices, and less noise. Detail that is
    finer than the model's canvas is smoothed away, and so may be a finding of a kind that the model
    has never seen. Values beyond the model's intensity range are restored, and padding is
    unchanged. Output files have names that do not identify the patient. The exit code is 1 if
    nothing could be written.

    \b
    Examples:
      medvae denoise studies/ --model runs/first --out smooth
      medvae denoise studies/ --model runs/first --out smooth --format nifti,png --modality MR
    """
    import medvae.denoising

    with progress_bars() as progress:
        denoised = medvae.denoising.denoise(studies, out=out, progress=progress, **options)
    for line in _lines(denoised, out):
        click.echo(printable(line))
    if not denoised.files:
        why = "see the reasons above" if denoised.failures else "none of the files could be read"
        click.echo(f"Error: nothing could be denoised; {why}", err=True)
        ctx.exit(1)


def _lines(denoised: Denoised, out: Path) -> Iterator[str]:
    """Yield the lines of the report for the terminal."""
    yield (
        f"{denoised.series} series, {_count(denoised.slices, 'slice')}: "
        f"{_count(len(denoised.files), 'file')} in {out}"
    )
    failures = ((failure.where, failure.why) for failure in denoised.failures)
    yield from folded("failed", failures, many=_FEW)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
