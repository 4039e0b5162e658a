"""The latent view on its own: a page and figures for given slices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medvae.atomic import write_bytes, write_text
from medvae.audit._audit import Progress
from medvae.audit._canvases import Canvases, decode
from medvae.audit._latent_sights import latent_gallery, latent_sights
from medvae.audit._latents import LatentPicture, look
from medvae.audit._page import Section, page, paragraph, table
from medvae.audit._sets import Member, read_studies
from medvae.audit._verdict import said
from medvae.folders import output
from medvae.models import open_model
from medvae.networks import device_named
from medvae.pages import found

__all__ = ["LatentReport", "show_latent"]


@dataclass(frozen=True, eq=False)
class LatentReport:
    """The written output of a latent view.

    Attributes:
        page: The HTML page.
        pictures: Figures of the page as PNG files.
        slices: Number of slices shown.
        units: Number of units of a latent.
        problems: Files and labels that could not be used, one line each.
    """

    page: Path
    pictures: tuple[Path, ...]
    slices: int
    units: int
    problems: tuple[str, ...]


def show_latent(
    studies: Iterable[str | Path],
    model: str | Path,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    modality: str | None = None,
    seed: int = 0,
    device: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> LatentReport:
    """Write a page that shows where slices lie in the latent space of a model.

    Args:
        studies: Files and folders of the slices.
        model: Folder of a trained model.
        out: Output folder, which must be empty or not exist yet.
        labels: Labels of the slices, by which they are then coloured.
        modality: Modality assumed for files that do not state one.
        seed: Random seed for choosing slices if there are very many.
        device: Device to compute on; a GPU by default if there is one.
        workers: Number of reading processes; by default those already running.
        progress: Called with (stage, done, total, note) as work proceeds.

    Raises:
        UsageProblem: If an argument is invalid.
        ReadError: If nothing can be read, or the model is damaged.
        WriteError: If the output cannot be written.
    """
    folder, studies = Path(out), list(studies)

    def told(what: str, done: int, total: int) -> None:
        if progress is not None:
            progress(what, done, total, "")

    with output(folder, [*studies, labels]):
        run, place = open_model(model), device_named(device)
        found = read_studies(
            "given",
            studies,
            None if labels is None else Path(labels),
            modality=modality,
            workers=workers,
            progress=lambda done, total: told("Reading headers", done, total),
        )
        run.check_modalities(member.native for member in found.members)
        canvases = decode(
            found,
            run.network.image_size,
            run.intensity,
            folder,
            workers=workers,
            progress=lambda done, total: told("Decoding slices", done, total),
        )
        latent = look(
            run.network,
            canvases.pool,
            None,
            seed,
            place,
            lambda done, total: told("Encoding slices", done, total),
        )
        return _written(folder, canvases, latent)


def _written(folder: Path, canvases: Canvases, latent: LatentPicture) -> LatentReport:
    members = [canvases.set.members[row] for row in latent.rows]
    ways = {"patient": [member.groups[0][:8] for member in members]}
    if canvases.set.labelled:
        ways = {"label": [_label(member) for member in members]} | ways
    points = {way: _by_name(latent.view.real.points, names) for way, names in ways.items()}
    sights = list(latent_sights(latent, points))
    pictures = []
    for sight in sights:
        pictures.append(folder / f"{sight.name}.png")
        write_bytes(pictures[-1], sight.figure.png)
    units = int(latent.view.traversals.shape[-1])
    real = latent.view.real
    summary = f"{len(members)} slices of {len(canvases.set.patients)} patients, {units} units"
    share = table(
        "Latents within [-1.5, 1.5]",
        ("", "units", "slices with all units"),
        [
            ("these slices", said(real.inside), said(real.wholly_inside)),
            ("N(0, 1)", "0.866", said(0.8664**units)),
        ],
    )
    parts = (
        share,
        paragraph("A direction is one in which the slices vary, the widest first."),
        latent_gallery(sights),
    )
    html = page("Slices in the latent space", summary, [Section("view", "Latent view", parts)])
    write_text(folder / "latent.html", html)
    return LatentReport(
        folder / "latent.html", tuple(pictures), len(members), units, canvases.set.problems
    )


def _label(member: Member) -> str:
    """Return the categories on a slice as text."""
    labels = member.native.labels
    return "not labelled" if labels is None else found(labels)


def _by_name(points: NDArray[np.float64], names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Group points ``[N, K]`` by name."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        rows[name].append(row)
    return {name: points[found] for name, found in sorted(rows.items())}
