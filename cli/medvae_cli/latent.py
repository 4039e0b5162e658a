"""``medvae latent``: where slices lie in the latent space of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medvae_cli.printing import printable
from medvae_cli.progress import progress_bars

__all__ = ["latent"]

_EXISTING = click.Path(exists=True, path_type=Path)
_FEW = 5


@click.command()
@click.argument("studies", nargs=-1, required=True, metavar="STUDIES...", type=_EXISTING)
@click.option(
    "--model", required=True, metavar="RUN", help="What 'medvae train' wrote, or a bundle like it."
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for the results: empty, or not there yet.",
)
@click.option("--labels", type=_EXISTING, help="Boxes or masks: slices are coloured by them.")
@click.option("--modality", help="Modality of files that do not say, such as MR or CT.")
@click.option("--device", metavar="D", help="cpu or cuda.  [default: a GPU where there is one]")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Processes that read.  [default: one for each processor, 8 at most]",
)
def latent(studies: tuple[Path, ...], **options: Any) -> None:
    """Show where slices lie in the latent space of a model.

    latent.html in the folder, and a PNG for each of its figures, show how the latents are
    distributed beside N(0, 1), where the slices lie along the directions in which they vary most,
    coloured by label or patient, and what the model decodes along these directions.

    \b
    Examples:
      medvae latent mr/ --model run --out latent
      medvae latent mr/ --labels mr/coco.json --model run --out latent
    """
    import medvae.audit

    with progress_bars() as progress:
        view = medvae.audit.show_latent(studies, progress=progress, **options)
    click.echo(printable(f"{view.slices} slices, {view.units} latent units"))
    click.echo(printable(f"look at {view.page}"))
    for problem in view.problems[:_FEW]:
        click.echo(printable(f"  not used: {problem}"))
    if len(view.problems) > _FEW:
        click.echo(f"  and {len(view.problems) - _FEW} more that could not be used")
