"""``medvae demo``: run the main commands once, on the sample that comes with the package."""

from __future__ import annotations

import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medvae_cli.printing import printable
from medvae_cli.progress import progress_bars

if TYPE_CHECKING:
    from medvae.demo import Demo

__all__ = ["demo"]


@click.command()
@click.option(
    "--out",
    default="medvae-demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Output folder, which must be empty or not exist yet.",
)
@click.option(
    "--model",
    default="cardiac_mr_vae",
    show_default=True,
    metavar="MODEL",
    help="Trained model: the folder that 'medvae train' wrote, or a bundle that is shipped.",
)
@click.option("--open", "show", is_flag=True, help="Show the page in a browser.")
def demo(out: Path, model: str, show: bool) -> None:
    """Inspect, augment and audit a sample, and show the results.

    The sample is of cardiac MR, and the results are shown on a page. A second sample, a head whose
    geometry is known, is augmented and written as DICOM. The samples and the model are part of the
    package, so nothing is downloaded. The demo takes about a minute.

    \b
    Examples:
      medvae demo
      medvae demo --out look --open
    """
    import medvae.demo

    with progress_bars() as progress:
        shown = medvae.demo.demo(out, model=model, progress=progress)
    for line in _lines(shown):
        click.echo(printable(line))
    if show:
        webbrowser.open(shown.page.absolute().as_uri())


def _lines(shown: Demo) -> Iterator[str]:
    """Yield the lines of the report for the terminal."""
    totals = shown.inspection.totals
    yield f"read: {totals['slices']} slices of {totals['patients']} patients"
    yield f"augmented: {shown.augmented.kept} of {shown.augmented.draws} draws kept"
    yield f"written as DICOM: {shown.dicom.kept} of {shown.dicom.draws} slices of a head"
    yield f"audited: {shown.audited.verdict.words}"
    yield f"look at {shown.page}"
