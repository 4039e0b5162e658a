"""The latent view on its own: a page and figures for given slices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medvae.atomic import write_bytes, write_text
from medvae.auditing._decoded import DecodedSet, decode
from medvae.auditing._page import PageSection, formatted
from medvae.auditing._sets import AuditedSlice, read_studies
from medvae.auditing.latent_space import (
    LatentViewPictures,
    decoded_view,
    latent_figures,
    latent_gallery,
    latents_of,
)
from medvae.folders import output
from medvae.models import open_model
from medvae.networks import device_named
from medvae.pages import found, part, render
from medvae.progress import Progress, ignore_progress

__all__ = ["LatentReport", "latent_view"]


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


def latent_view(
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
    folder, studies, progress = Path(out), list(studies), progress or ignore_progress
    with output(folder, [*studies, labels]):
        trained, chosen = open_model(model), device_named(device)
        slices = read_studies(
            "given",
            studies,
            None if labels is None else Path(labels),
            modality=modality,
            workers=workers,
            progress=progress,
        )
        trained.check_modalities(one.native for one in slices.slices)
        network = trained.network
        decoded = decode(
            slices,
            network.image_size,
            trained.intensity,
            folder,
            workers=workers,
            progress=progress,
        )
        latents, rows = latents_of(network, decoded, seed, chosen, progress)
        shown = [decoded.set.slices[row] for row in rows]
        latent = decoded_view(network, latents, None, chosen)
        return _written(folder, decoded, shown, latent)


def _written(
    folder: Path, decoded: DecodedSet, slices: Sequence[AuditedSlice], latent: LatentViewPictures
) -> LatentReport:
    colourings = {"patient": [one.groups[0][:8] for one in slices]}
    if decoded.set.labelled:
        colourings = {"label": [_label(one) for one in slices]} | colourings
    real = latent.view.real
    points = {colouring: _by_name(real.points, names) for colouring, names in colourings.items()}
    figures = list(latent_figures(latent, points))
    pictures = []
    for one in figures:
        pictures.append(folder / f"{one.name}.png")
        write_bytes(pictures[-1], one.figure.png)
    units = int(latent.view.traversals.shape[-1])
    parts = (
        part(
            "table",
            "Share of the latent units within [-1.5, 1.5]",
            ("", "units"),
            [("these slices", formatted(real.inside)), ("N(0, 1)", "0.866")],
        ),
        part(
            "paragraph", "Directions are the principal components of the latents, the widest first."
        ),
        latent_gallery(figures),
    )
    html = render(
        "sections",
        title="Slices in the latent space",
        summary=f"{len(slices)} slices of {len(decoded.set.patients)} patients, {units} units",
        sections=[PageSection("view", "Latent view", parts)],
        opening=[],
    )
    page = folder / "latent.html"
    write_text(page, html)
    return LatentReport(page, tuple(pictures), len(slices), units, decoded.set.problems)


def _label(one: AuditedSlice) -> str:
    """Return the categories on a slice as text."""
    labels = one.native.labels
    return "not labelled" if labels is None else found(labels)


def _by_name(points: NDArray[np.float64], names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Group points ``[N, K]`` by name."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        rows[name].append(row)
    return {name: points[of] for name, of in sorted(rows.items())}
