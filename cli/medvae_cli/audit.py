"""``medvae audit``: report whether a synthetic set differs from the real one, and if it matters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medvae_cli.options import DEVICE, EXISTING, MODALITY, OUTLINES, READERS
from medvae_cli.printing import not_used, printable
from medvae_cli.progress import progress_bars

if TYPE_CHECKING:
    from medvae.audit import Audit

__all__ = ["audit"]


@click.command()
@click.option(
    "--real",
    multiple=True,
    required=True,
    metavar="STUDIES",
    type=EXISTING,
    help="Real slices; several times.",
)
@click.option("--labels", type=EXISTING, help="Boxes or masks of the real slices.")
@OUTLINES
@click.option(
    "--synthetic",
    required=True,
    metavar="OUT",
    type=EXISTING,
    help="What 'medvae augment' wrote, or any other slices.",
)
@click.option(
    "--synthetic-labels",
    type=EXISTING,
    help="Of slices that 'medvae augment' did not write.",
)
@click.option(
    "--model",
    metavar="RUN",
    help="What 'medvae train' wrote: shows where both sets lie in its latent space.",
)
@click.option(
    "--holdout",
    multiple=True,
    metavar="STUDIES",
    type=EXISTING,
    help="Real slices of other patients, to compare with; several times.  [default: the real "
    "slices themselves, split by patient]",
)
@click.option(
    "--extractor",
    "extractors",
    multiple=True,
    metavar="NAME=FILE",
    help="Weights of efficientnet, resnet152 or vgg11-bn, whose features are compared too; several "
    "times.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for the report: empty, or not there yet.",
)
@click.option(
    "--fail-if",
    multiple=True,
    metavar="BOUND",
    help='Exit with 1 where this is true, as in "auc>0.8"; several times.',
)
@MODALITY
@click.option("--seed", default=0, show_default=True, help="Another seed, other random splits.")
@DEVICE
@READERS
@click.pass_context
def audit(ctx: click.Context, /, **options: Any) -> None:
    """Compare synthetic slices with real ones.

    Can a network tell them apart? Do their findings still hold what was labelled? Are they copies
    of patients who are not declared in them? report.html in the folder answers in words, tables and
    pictures, report.json in numbers; beside each number stands what real slices of some patients
    and of others give. Everything is split by patient. Exit code 1 says that a bound of --fail-if
    is broken. "copies" is the share of slices that are as near as a copy to a patient who is not
    declared in them; "nearest.excess" is that share minus the share among real slices.

    \b
    Examples:
      medvae audit --real mr/ --labels mr/coco.json --synthetic out --model run --out report
      medvae audit --real mr/ --synthetic gan/ --out report --fail-if "auc>0.8"
      medvae audit --real mr/ --labels mr/coco.json --synthetic out --holdout later/ --out report
    """
    import medvae.audit

    with progress_bars() as progress:
        found = medvae.audit.audit(progress=progress, **options)
    for line in _lines(found):
        click.echo(printable(line))
    if found.broken:
        for line in found.broken:
            click.echo(f"Error: fail-if {printable(line)}", err=True)
        ctx.exit(1)


def _lines(found: Audit) -> Iterator[str]:
    """Yield the lines of the report for the terminal."""
    yield f"{found.verdict.mark}: {found.verdict.words}"
    if found.outlines is not None:
        yield f"outlines: {found.outlines}"
    yield f"look at {found.page}"
    yield from not_used(found.problems)
