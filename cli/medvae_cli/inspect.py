"""``medvae inspect``: show which files can be read, and why the others cannot."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medvae.atomic import write_text
from medvae.formats import READERS as READABLE
from medvae.formats import titles
from medvae_cli.options import EXISTING, MODALITY, OUTLINES, READERS
from medvae_cli.printing import folded, printable
from medvae_cli.progress import progress_bars

if TYPE_CHECKING:
    from medvae.inspection import Inspection
    from medvae.readers import FileReport
    from medvae.records import Series

__all__ = ["inspect"]

_FEW = 3
"""Up to this many files skipped for the same reason are listed by name; more are counted."""


class _InspectCommand(click.Command):
    """Command whose help ends with the formats that are registered when it is shown."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the end of the help."""
        self.epilog = f"Formats, in any mixture: {titles(READABLE)}."
        super().format_epilog(ctx, formatter)


@click.command(cls=_InspectCommand)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=EXISTING)
@click.option(
    "--labels",
    type=EXISTING,
    help="COCO, MONAI datalist or CSV file, DICOM SEG, or folder of masks or YOLO files.",
)
@OUTLINES
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.option(
    "--pictures",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="OUT.html",
    help="Write a contact sheet of the slices with their boxes: one HTML page that opens offline. "
    "Only a page that medvae wrote is overwritten.",
)
@click.option("--decode", is_flag=True, help="Also decode every slice, to find damaged pixels.")
@MODALITY
@click.option(
    "--nan-as-padding", is_flag=True, help="Treat NaN as padding instead of refusing the slice."
)
@READERS
@click.pass_context
def inspect(
    ctx: click.Context,
    /,
    paths: tuple[Path, ...],
    as_json: bool,
    pictures: Path | None,
    **options: Any,
) -> None:
    """Show what would be read from files and folders.

    Every file ends as read, skipped (not an image that medvae reads) or refused (an image that
    cannot be trusted), the last two with the reason; --json lists every file. The exit code is 1
    if no file could be read.

    \b
    Examples:
      medvae inspect studies/
      medvae inspect studies/ --labels studies/coco.json --pictures sheet.html
      medvae inspect studies/ --json | jq .counts
    """
    from medvae.contact_sheet import contact_sheet
    from medvae.inspection import inspect_studies
    from medvae.pages import check_replaceable

    if pictures is not None:
        check_replaceable(pictures)
    with progress_bars() as progress:
        inspection = inspect_studies(paths, **options, progress=progress)
    if pictures is not None:
        with progress_bars() as progress:
            page = contact_sheet(
                inspection.studies,
                title="What medvae reads",
                workers=options["workers"],
                progress=progress,
            )
        check_replaceable(pictures)  # again: a file may have appeared in the meantime
        write_text(pictures, page)
    if as_json:
        click.echo(json.dumps(inspection.to_json(), indent=2, allow_nan=False))
    else:
        for line in _lines(inspection):
            click.echo(printable(line))
    if not inspection.studies:
        names = ", ".join(map(str, paths[:_FEW])) + (" ..." if len(paths) > _FEW else "")
        click.echo(f"Error: {names}: none of the files could be read", err=True)
        ctx.exit(1)


def _lines(inspection: Inspection) -> Iterator[str]:
    """Yield the lines of the report for the terminal."""
    counts = inspection.totals
    yield ", ".join(
        f"{counts[name]} {name if counts[name] != 1 else singular}"
        for name, singular in (
            ("patients", "patient"),
            ("studies", "study"),
            ("series", "series"),
            ("slices", "slice"),
        )
    )
    for study in inspection.studies:
        yield ""
        yield f"study {study.key}, patient {study.group} (from {study.group_from})"
        for series in study.series:
            yield f"  {_series_line(series)}"
            yield from (f"       {flag}" for flag in series.flags)
    yield from _label_lines(inspection)
    counted = ", ".join(f"{count} {what}" for what, count in inspection.counts.items())
    yield ""
    yield f"files: {counted}"
    yield from _not_read(inspection.files)


def _series_line(series: Series) -> str:
    from medvae.inspection import count_labels

    first = series.slices[0]
    rows, columns = first.shape
    parts = [f"{series.modality or 'unknown modality'}: {len(series.slices)} x {columns}x{rows}"]
    if first.geometry.spacing is not None:
        down, across = first.geometry.spacing
        parts.append(f"{across:.3g}x{down:.3g} mm")
    if series.gap is not None:
        parts.append(f"a slice every {series.gap:.3g} mm")
    labels = count_labels(series.slices)
    if labels["labelled_slices"]:
        parts.append(f"{labels['findings']} findings on {labels['positive_slices']} slices")
    return ", ".join(parts)


def _label_lines(inspection: Inspection) -> Iterator[str]:
    from medvae.inspection import count_labels

    labelled = inspection.labels
    if labelled is None:
        return
    count = count_labels(inspection.slices)
    yield ""
    yield (
        f"labels ({labelled.format}): {count['findings']} findings, {count['masks']} of them "
        f"with a mask, on {count['positive_slices']} slices; "
        f"{count['labelled_slices'] - count['positive_slices']} slices are known to be empty"
    )
    if labelled.outlines is not None:
        yield f"outlines ({labelled.outlines.format}): {labelled.outlines}"
    yield from (f"  {name}: {number}" for name, number in count["categories"].items())
    problems = ((problem.where, problem.what) for problem in labelled.problems)
    yield from folded("not used:", problems, noun="labels")


def _not_read(files: tuple[FileReport, ...]) -> Iterator[str]:
    """Yield lines for refused and skipped files; many skipped for one reason share a line."""
    yield from folded("refused", ((r.path, r.reason) for r in files if r.outcome == "refused"))
    reasons: dict[str, list[Path]] = defaultdict(list)
    for report in files:
        if report.outcome == "skipped":
            reasons[report.reason].append(report.path)
    for reason, paths in reasons.items():
        if len(paths) > _FEW:
            yield f"  skipped {len(paths)} files below {os.path.commonpath(paths)}: {reason}"
        else:
            yield from (f"  skipped {path}: {reason}" for path in paths)
