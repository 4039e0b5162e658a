"""``medvae augment``: make synthetic slices with boxes and masks that fit them."""

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
    OUTLINES,
    ListedOption,
    image_formats,
    names,
)
from medvae_cli.printing import not_used, printable
from medvae_cli.progress import progress_bars

if TYPE_CHECKING:
    from medvae.augmentation import Augmented

__all__ = ["augment"]


def _samplers() -> list[str]:
    from medvae.latent import SAMPLERS

    return [one.example or one.name for one in SAMPLERS.values()]


def _renders() -> list[str]:
    from medvae.render import RENDERS

    return ["auto", "transplant", *RENDERS]


def _label_formats() -> list[str]:
    from medvae.labels import LABEL_FORMATS

    return [one.option for one in LABEL_FORMATS if one.option is not None]


@click.command()
@click.argument("studies", nargs=-1, required=True, metavar="STUDIES...", type=EXISTING)
@MODEL
@OUT
@click.option(
    "--labels",
    type=EXISTING,
    help="Labels of the slices: boxes or masks in any format that 'medvae inspect' reads.",
)
@OUTLINES
@click.option(
    "--hosts",
    multiple=True,
    metavar="STUDIES",
    type=EXISTING,
    help="Scans known to be free of findings, into which lesions are inserted; can be repeated.",
)
@click.option(
    "--copies",
    default=1,
    show_default=True,
    metavar="N",
    help="Number of draws per source slice; with --per study, per series or transplanted lesion.",
)
@click.option(
    "--ratio", type=float, metavar="R", help="Number of draws per real slice, instead of --copies."
)
@click.option(
    "--sampler",
    default="gaussian",
    show_default=True,
    metavar="S",
    cls=ListedOption,
    listed=_samplers,
    help="Sampler of latents:",
)
@click.option(
    "--strength",
    type=float,
    metavar="T",
    help="Distance from the source; 0 changes nothing.  [default: 1 for transplant, else 0.5]",
)
@click.option(
    "--render",
    default="auto",
    show_default=True,
    metavar="R",
    cls=ListedOption,
    listed=_renders,
    help="Render, or a chain such as warp+residual:",
)
@click.option(
    "--per",
    type=click.Choice(["slice", "study"]),
    default="slice",
    show_default=True,
    help="Draw each slice alone, or whole series, with lesions through all their slices.",
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
    "--split",
    type=EXISTING,
    help="JSON file of a split; none of its held-out patients may be used.",
)
@click.option(
    "--align-to",
    multiple=True,
    metavar="STUDIES",
    type=EXISTING,
    help="Slices to whose mean the latents are shifted; can be repeated.",
)
@image_formats("png")
@click.option(
    "--labels-format",
    "label_formats",
    default="coco",
    show_default=True,
    metavar="F[,F]",
    callback=names,
    cls=ListedOption,
    listed=_label_formats,
    help="Label formats, comma-separated:",
)
@click.option(
    "--merge",
    is_flag=True,
    help="Also write the labelled slices of STUDIES to OUT/real, with labels for both sets.",
)
@MODALITY
@BURNED_IN
@click.option("--seed", default=0, show_default=True, help="Random seed.")
@DEVICE
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Number of threads or actors, and of reading processes.  [default: one per processor]",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Threads of this machine, or actors of Ray on one machine or many; same bytes.",
)
@click.option(
    "--address",
    metavar="A",
    help="Address of a running Ray cluster, such as auto.  [default: Ray is started here]",
)
@click.option(
    "--gpus-per-worker",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="G",
    help="Number of GPUs that an actor of Ray uses, or the fraction of one.  [default: 0]",
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Do share I of N of the run, as a task of a SLURM array; the last one writes the labels.",
)
@click.option(
    "--shard-timeout",
    type=click.FloatRange(min=0),
    default=86400.0,
    show_default=True,
    metavar="S",
    help="Seconds to wait for what other shards have encoded.",
)
@click.option("--resume", is_flag=True, help="Continue a run that was stopped.")
@click.option("--dry-run", is_flag=True, help="Read and plan only; write nothing.")
@click.pass_context
def augment(ctx: click.Context, /, studies: tuple[Path, ...], **options: Any) -> None:
    """Write synthetic slices of studies, with matching boxes and masks.

    Lesions are inserted into slices of other patients that look similar around the site of the
    lesion; organs are warped in the way in which, according to the model, anatomy varies. A slice
    that fails one of the gates is drawn again, and rejected after four attempts. In the output
    folder, manifest.jsonl describes every draw, and preview.html shows some of them. The same
    command gives the same bytes.

    With --per study, whole series are made: those of STUDIES, each warped as a unit, or series
    without findings, with a whole lesion through their slices. With --merge, the labelled slices
    of STUDIES are written as well, and the label files cover both sets.

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
        click.echo("Error: no slice was kept; see the reasons above", err=True)
        ctx.exit(1)


def _lines(made: Augmented) -> Iterator[str]:
    """Yield the lines of the report for the terminal."""
    yield f"render: {made.render}"
    if made.outlines is not None:
        yield f"outlines: {made.outlines}"
    if made.waiting_for:
        others = ", ".join(map(str, made.waiting_for))
        yield f"{made.kept} of {made.draws} draws of this shard kept, in {made.out}"
        yield from (f"  rejected {count}: {reason}" for reason, count in made.rejected)
        yield f"the last of these shards writes the labels: {others}"
    elif made.preview is None:
        yield f"{made.planned} draws planned, nothing written"
    else:
        yield f"{made.kept} of {made.draws} draws kept, in {made.out}"
        yield from (f"  rejected {count}: {reason}" for reason, count in made.rejected)
        if made.real:
            yield f"{made.real} real slices written to {made.out / 'real'}"
        yield f"look at {made.preview}"
    yield from not_used(made.problems)
