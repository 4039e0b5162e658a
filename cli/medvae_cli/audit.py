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
    from medvae.auditing import Audit

__all__ = ["audit"]


class _AuditCommand(click.Command):
    """Command whose help lists the numbers that ``--fail-if`` can be used with."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names and descriptions of the numbers."""
        import medvae.auditing  # takes seconds; only this help needs it

        with formatter.section("Numbers for --fail-if, where * is any name in the report"):
            formatter.write_dl(list(medvae.auditing.number_names().items()))


@click.command(cls=_AuditCommand)
@click.option(
    "--real",
    multiple=True,
    required=True,
    metavar="STUDIES",
    type=EXISTING,
    help="Real slices; can be repeated.",
)
@click.option("--labels", type=EXISTING, help="Boxes or masks of the real slices.")
@OUTLINES
@click.option(
    "--synthetic",
    required=True,
    metavar="OUT",
    type=EXISTING,
    help="Output folder of 'medvae augment', or any other slices.",
)
@click.option(
    "--synthetic-labels",
    type=EXISTING,
    help="Labels of slices that 'medvae augment' did not write.",
)
@click.option(
    "--model",
    metavar="MODEL",
    help="Output folder of 'medvae train': both sets are shown in its latent space, too.",
)
@click.option(
    "--holdout",
    multiple=True,
    metavar="STUDIES",
    type=EXISTING,
    help="Real slices of other patients for the baselines; can be repeated.  [default: splits of "
    "the real slices by patient]",
)
@click.option(
    "--extractor",
    "extractors",
    multiple=True,
    metavar="NAME=FILE",
    help="Weights of efficientnet, resnet152 or vgg11-bn, whose features are compared, too; can be "
    "repeated.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for the report, which must be empty or not exist yet.",
)
@click.option(
    "--fail-if",
    multiple=True,
    metavar="BOUND",
    help='Exit with code 1 if this is true, as in "auc>0.8"; can be repeated.',
)
@MODALITY
@click.option("--seed", default=0, show_default=True, help="Random seed.")
@DEVICE
@READERS
@click.pass_context
def audit(ctx: click.Context, /, **options: Any) -> None:
    """Compare synthetic slices with real ones.

    Do the findings still contain a lesion? Are slices copies of patients whom they do not declare?
    Can a network tell the sets apart? The report answers in words, tables and figures (report.html)
    and in numbers (report.json). Each number comes with a baseline: the same number, measured
    between real slices of different patients. All sets are split by patient. The exit code is 1 if
    a bound of --fail-if is broken.

    \b
    Examples:
      medvae audit --real mr/ --labels mr/coco.json --synthetic out --model run --out report
      medvae audit --real mr/ --synthetic gan/ --out report --fail-if "auc>0.8"
      medvae audit --real mr/ --labels mr/coco.json --synthetic out --holdout later/ --out report
    """
    import medvae.auditing

    with progress_bars() as progress:
        found = medvae.auditing.audit(progress=progress, **options)
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
