"""``medvae latent``: show where slices lie in the latent space of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medvae_cli.options import DEVICE, EXISTING, MODALITY, MODEL, OUT, READERS
from medvae_cli.printing import not_used, printable
from medvae_cli.progress import progress_bars

__all__ = ["latent"]


@click.command()
@click.argument("studies", nargs=-1, required=True, metavar="STUDIES...", type=EXISTING)
@MODEL
@OUT
@click.option(
    "--labels", type=EXISTING, help="Boxes or masks of the slices, which are coloured by them."
)
@MODALITY
@DEVICE
@READERS
def latent(studies: tuple[Path, ...], **options: Any) -> None:
    """Show where slices lie in the latent space of a model.

    latent.html in the output folder, and a PNG file for each of its figures, show how the latents
    are distributed compared with N(0, 1), where the slices lie along the directions in which they
    vary most, coloured by label or patient, and what the model decodes along these directions.

    \b
    Examples:
      medvae latent mr/ --model run --out latent
      medvae latent mr/ --labels mr/coco.json --model run --out latent
    """
    import medvae.auditing

    with progress_bars() as progress:
        view = medvae.auditing.latent_view(studies, progress=progress, **options)
    click.echo(printable(f"{view.slices} slices, {view.units} latent units"))
    click.echo(printable(f"look at {view.page}"))
    for line in not_used(view.problems):
        click.echo(printable(line))
