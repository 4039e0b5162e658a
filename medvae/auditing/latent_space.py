"""The latent space of a model: where slices lie in it, and what is decoded along its directions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.special import ndtr

from medvae.atomic import write_bytes, write_text
from medvae.auditing._decoded import DecodedSet, decode
from medvae.auditing._features import (
    direction_names,
    encoder_features,
    extract,
    principal_directions,
)
from medvae.auditing._figures import Drawing, clouds, densities, tiles
from medvae.auditing._page import PageSection, formatted
from medvae.auditing._sets import AuditedSlice, read_studies
from medvae.files import Paths, as_paths
from medvae.folders import output
from medvae.models import open_model
from medvae.networks import Codec, device_named
from medvae.pages import found, part, render
from medvae.progress import Progress, ignore_progress
from medvae.randomness import generator

__all__ = ["LatentReport", "LatentView", "describe_latents", "latent_view"]

_INSIDE = 1.5
_WIDEST = 5.0
_BINS = 60
_MOST = 2000
"""Largest number of slices that are viewed; a spatial latent has some 10 000 units."""

_STEPS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


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
    studies: Paths,
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
    folder, studies, progress = Path(out), as_paths(studies), progress or ignore_progress
    with output(folder, [*studies, labels]):
        trained, chosen = open_model(model), device_named(device)
        reading: Any = {"workers": workers, "progress": progress}
        slices = read_studies("given", studies, labels, modality=modality, **reading)
        trained.check_modalities(one.native for one in slices.slices)
        network = trained.network
        size, intensity = network.image_size, trained.intensity
        decoded = decode(slices, size, intensity, folder, **reading)
        rows = np.arange(len(decoded), dtype=np.intp)
        if len(rows) > _MOST:
            random = generator(seed, "latents", len(rows))
            rows = np.sort(random.choice(rows, _MOST, replace=False))
        features = encoder_features(network, chosen, whole=True)
        latents = extract(features, decoded.pool, "encoder", rows=rows, progress=progress)
        view = describe_latents(latents)
        z = torch.from_numpy(view.traversals)
        decodes = Codec(network, chosen, torch.float32).decode(z.flatten(0, 1))[:, 0]
        pictures = decodes.clamp(0, 1).cpu().numpy().reshape(*z.shape[:2], *decodes.shape[1:])
        return _written(folder, decoded, [decoded.set.slices[row] for row in rows], view, pictures)


@dataclass(frozen=True, eq=False)
class LatentView:
    """The latent space as occupied by slices.

    Attributes:
        points: Coordinates of the slices on the principal directions, ``[N, K]``.
        explained: Share of the variance along each principal direction, ``[K]``.
        inside: Share of all units within [-1.5, 1.5]; 0.866 for a standard normal distribution.
        edges: Edges of the bins of the densities, ``[B + 1]``.
        density: Density of all units in the bins; values beyond the bins are left out.
        normal: Density of N(0, 1) in the bins, ``[B]``.
        steps: Steps of the traversals, in standard deviations along the direction.
        traversals: Latents to decode, ``[T, len(steps), D]``.
        scales: Standard deviation along each traversed direction, ``[T]``.
    """

    points: NDArray[np.float64]
    explained: NDArray[np.float64]
    inside: float
    edges: NDArray[np.float64]
    density: NDArray[np.float64]
    normal: NDArray[np.float64]
    steps: tuple[float, ...]
    traversals: NDArray[np.float32]
    scales: NDArray[np.float64]


def describe_latents(
    latents: NDArray[np.float32],
    *,
    components: int = 10,
    traversed: int = 4,
    steps: tuple[float, ...] = _STEPS,
) -> LatentView:
    """Return the view of latents (posterior means).

    Args:
        latents: Latents of the slices, ``[N, D]``, with N at least 2.
        components: Number of principal directions; fewer if fewer exist.
        traversed: Number of directions to traverse, through the mean of the latents.
        steps: Steps of the traversals, in standard deviations.
    """
    pca = principal_directions(latents, components)
    scales = np.sqrt(pca.explained_variance_[:traversed])
    moves = np.multiply.outer(scales, np.array(steps))[:, :, None]
    traversals = pca.mean_ + moves * pca.components_[:traversed, None]
    edges = np.linspace(-_WIDEST, _WIDEST, _BINS + 1)
    return LatentView(
        points=pca.transform(latents.astype(np.float64)),
        explained=pca.explained_variance_ratio_,
        inside=float((np.abs(latents) <= _INSIDE).mean()),
        edges=edges,
        density=np.histogram(latents, edges)[0] / (latents.size * np.diff(edges)),
        normal=np.diff(ndtr(edges)) / np.diff(edges),
        steps=tuple(steps),
        traversals=traversals.astype(np.float32),
        scales=scales,
    )


class _Figure(NamedTuple):
    """A figure of a latent view: the name of its file, the figure, and its texts."""

    name: str
    drawing: Drawing
    alternative: str
    caption: str

    @property
    def html(self) -> Markup:
        return part("drawing", self.drawing.uri, self.alternative, self.caption)


def _narrow_figures(view: LatentView, colourings: dict[str, list[str]]) -> Iterator[_Figure]:
    """Draw the distribution of units, and the positions of slices for each way to colour them."""
    yield _Figure(
        "distribution",
        densities(
            view.edges, {"real": view.density, "N(0, 1)": view.normal}, "value of a latent unit"
        ),
        "Distribution of all latent units, compared with N(0, 1)",
        "All units of all slices",
    )
    axes = direction_names(view.explained)
    if len(axes) < 2:
        return
    for colouring, names in colourings.items():
        owners = np.array(names, object)
        points = {name: view.points[owners == name, :2] for name in sorted(set(names))}
        yield _Figure(
            f"scatter_{colouring}",
            clouds(points, *axes),
            f"Positions of slices along the first two directions, coloured by {colouring}",
            f"One point for each slice, coloured by {colouring}; directions with their share of "
            "the variance",
        )


def _traversals(view: LatentView, decoded: NDArray[np.float32]) -> Iterator[_Figure]:
    """Draw what the model decodes along the directions, ``[T, steps, size, size]``."""
    names = [f"{step:+.0f} SD" if step else "mean" for step in view.steps]
    directions = zip(decoded, view.explained, view.scales, strict=False)
    for number, (pictures, share, scale) in enumerate(directions, 1):
        steps = ", ".join(f"{step * scale:+.3g}" for step in view.steps)
        yield _Figure(
            f"traversal_{number}",
            tiles(pictures, names),
            f"Decodes along direction {number}, from {names[0]} to {names[-1]}",
            f"Direction {number}, {100 * share:.1f} % of the variance; steps {steps}",
        )


def _written(
    folder: Path,
    decoded: DecodedSet,
    slices: Sequence[AuditedSlice],
    view: LatentView,
    pictures: NDArray[np.float32],
) -> LatentReport:
    colourings = {"patient": [one.groups[0][:8] for one in slices]}
    if decoded.set.labelled:
        labels = [one.native.labels for one in slices]
        names = ["not labelled" if known is None else found(known) for known in labels]
        colourings = {"label": names} | colourings
    narrow, wide = [*_narrow_figures(view, colourings)], [*_traversals(view, pictures)]
    files = []
    for one in (*narrow, *wide):
        files.append(folder / f"{one.name}.png")
        write_bytes(files[-1], one.drawing.png)
    units = int(view.traversals.shape[-1])
    parts = (
        part(
            "table",
            "Share of the latent units within [-1.5, 1.5]",
            ("", "units"),
            [("these slices", formatted(view.inside)), ("N(0, 1)", "0.866")],
        ),
        part(
            "paragraph", "Directions are the principal components of the latents, the widest first."
        ),
        part("gallery", "figures", [one.html for one in narrow]),
        *(one.html for one in wide),
    )
    page = folder / "latent.html"
    html = render(
        "sections",
        title="Slices in the latent space",
        summary=f"{len(slices)} slices of {len(decoded.set.patients)} patients, {units} units",
        sections=[PageSection("view", "Latent view", parts)],
        opening=[],
    )
    write_text(page, html)
    return LatentReport(page, tuple(files), len(slices), units, decoded.set.problems)
