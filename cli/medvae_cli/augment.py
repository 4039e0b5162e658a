"""``medvae augment``: make synthetic slices with boxes and masks that fit them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medvae_cli.options import BURNED_IN, DEVICE, EXISTING, MODALITY, MODEL, OUT, OUTLINES
from medvae_cli.printing import not_used, printable
from medvae_cli.progress import progress_bars

if TYPE_CHECKING:
    from medvae.augmentation import Augmented

__all__ = ["augment"]


def _names(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


@click.command()
@click.argument("studies", nargs=-1, required=True, metavar="STUDIES...", type=EXISTING)
@MODEL
@OUT
@click.option("--labels", type=EXISTING, help="Boxes or masks of the slices, in any known format.")
@OUTLINES
@click.option(
    "--hosts",
    multiple=True,
    metavar="STUDIES",
    type=EXISTING,
    help="Scans known to be free of findings, for lesions to be set into; several times.",
)
@click.option(
    "--copies",
    default=1,
    show_default=True,
    metavar="N",
    help="Draws of each source slice; with --per study, of each series or transplanted lesion.",
)
@click.option(
    "--ratio", type=float, metavar="R", help="Draws for each real slice, instead of --copies."
)
@click.option(
    "--sampler",
    default="gaussian",
    show_default=True,
    metavar="S",
    help="How latents are drawn: prior, posterior, gaussian, interpolate, direction:1,3, align.",
)
@click.option(
    "--strength",
    type=float,
    metavar="T",
    help="How far from the source: 0 is not at all.  [default: 1 for transplant, else 0.5]",
)
@click.option(
    "--render",
    default="auto",
    show_default=True,
    metavar="R",
    help="transplant, warp, residual, decode, or several as in warp+residual.",
)
@click.option(
    "--per",
    type=click.Choice(["slice", "study"]),
    default="slice",
    show_default=True,
    help="Draw each slice alone, or whole series: smooth, with lesions through all their slices.",
)
@click.option(
    "--balance",
    type=click.Choice(["patients", "slices"]),
    default="patients",
    show_default=True,
    help="Spread transplants evenly over the donor patients, or over the slices with findings.",
)
@click.option("--only-positive", is_flag=True, help="Leave out slices without a finding.")
@click.option(
    "--split", type=EXISTING, help="JSON with held-out patients: none of them may be used."
)
@click.option(
    "--align-to",
    multiple=True,
    metavar="STUDIES",
    type=EXISTING,
    help="Shift latents to the mean of these slices; several times.",
)
@click.option(
    "--format",
    "formats",
    default="png",
    show_default=True,
    metavar="F[,F]",
    callback=_names,
    help="Of the pictures: dicom, nifti, png.",
)
@click.option(
    "--labels-format",
    "label_formats",
    default="coco",
    show_default=True,
    metavar="F[,F]",
    callback=_names,
    help="Of the labels: coco, monai, yolo.",
)
@click.option(
    "--merge",
    is_flag=True,
    help="Write the labelled slices of STUDIES too, to OUT/real, and labels of both; png or nifti.",
)
@MODALITY
@BURNED_IN
@click.option("--seed", default=0, show_default=True, help="Another seed, other slices.")
@DEVICE
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Threads that make slices, and processes that read.  [default: one for each processor]",
)
@click.option("--resume", is_flag=True, help="Go on with a run that was stopped.")
@click.option("--dry-run", is_flag=True, help="Say what would be made, and write nothing.")
@click.pass_context
def augment(ctx: click.Context, /, studies: tuple[Path, ...], **options: Any) -> None:
    """Write synthetic slices of studies, with boxes and masks that fit them.

    Lesions are set into slices of other patients that are their neighbours in the latent space of
    the model; organs are warped as the model says that anatomy varies. Each slice must pass
    gates, or it is drawn again and in the end rejected: manifest.jsonl in the folder
    says what became of each, preview.html shows some. The same command gives the same bytes.

    With --per study whole series are made: those of STUDIES, warped as one, or series that are
    free of findings, with a whole lesion through their slices. With --merge the labelled slices of
    STUDIES are written as well, and the labels are of both, to train with.

    \b
    Examples:
      medvae augment mr/ --labels mr/coco.json --hosts healthy/ --model run --out synthetic
      medvae augment ct/ --labels ct/masks --render warp --model run --out more --format dicom
      medvae augment mr/ --labels mr/coco.json --model run --out synthetic --copies 4 --resume
    """
    import medvae.augmentation

    with progress_bars() as progress:
        made = medvae.augmentation.augment(studies, progress=progress, **options)
    for line in _lines(made):
        click.echo(printable(line))
    if made.preview is not None and not made.kept:
        click.echo("Error: no slice was kept: see the reasons above", err=True)
        ctx.exit(1)


def _lines(made: Augmented) -> Iterator[str]:
    """Yield the lines of the report for the terminal."""
    yield f"render: {made.render}"
    if made.outlines is not None:
        yield f"outlines: {made.outlines}"
    if made.preview is None:
        yield f"{made.planned} draws planned, nothing written"
    else:
        yield f"{made.kept} of {made.draws} draws kept, in {made.out}"
        yield from (f"  rejected {count}: {reason}" for reason, count in made.rejected)
        if made.real:
            yield f"{made.real} real slices beside them, in {made.out / 'real'}"
        yield f"look at {made.preview}"
    yield from not_used(made.problems)
