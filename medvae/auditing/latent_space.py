"""The latent space: where slices lie in it, and what the model decodes along its directions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from markupsafe import Markup
from numpy.typing import NDArray
from scipy.special import ndtr
from sklearn.decomposition import PCA

from medvae.auditing._decoded import DecodedSet
from medvae.auditing._extractors import encoder, extract
from medvae.auditing._figures import Drawing, clouds, densities, tiles
from medvae.auditing._page import Report, cell, figures
from medvae.auditing._statistic import AuditSettings, ComparedSets, Statistic
from medvae.networks import Codec, SliceVAE
from medvae.pages import part
from medvae.progress import Progress, ignore_progress
from medvae.randomness import generator

__all__ = [
    "LatentFigure",
    "LatentSpace",
    "LatentView",
    "LatentViewPictures",
    "Occupancy",
    "decoded_view",
    "describe_latents",
    "latent_figures",
    "latent_gallery",
    "latents_of",
]

_INSIDE = 1.5
_WIDEST = 5.0
_BINS = 60
_MOST = 2000
"""Largest number of slices of a set that are viewed; a spatial latent has some 10 000 units."""

_STEPS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


@dataclass(frozen=True, eq=False)
class Occupancy:
    """How the units of latents are distributed.

    Attributes:
        points: Coordinates on the principal directions, ``[N, K]``.
        density: Density of all units in the bins of the view; values beyond the bins are left out.
        inside: Share of all units within [-1.5, 1.5]; 0.866 for a standard normal distribution.
    """

    points: NDArray[np.float64]
    density: NDArray[np.float64]
    inside: float


@dataclass(frozen=True, eq=False)
class LatentView:
    """The latent space as occupied by the real slices.

    Attributes:
        real: Occupancy of the real latents.
        synthetic: Occupancy of the synthetic latents; None if there are none.
        explained: Share of the real variance along each principal direction, ``[K]``.
        edges: Edges of the bins of the densities, ``[B + 1]``.
        normal: Density of N(0, 1) in the bins, ``[B]``.
        steps: Steps of the traversals, in standard deviations along the direction.
        traversals: Latents to decode, ``[T, len(steps), D]``.
        scales: Standard deviation along each traversed direction, ``[T]``.
    """

    real: Occupancy
    synthetic: Occupancy | None
    explained: NDArray[np.float64]
    edges: NDArray[np.float64]
    normal: NDArray[np.float64]
    steps: tuple[float, ...]
    traversals: NDArray[np.float32]
    scales: NDArray[np.float64]

    @property
    def sides(self) -> dict[str, Occupancy]:
        """The occupancies that there are, by the name of their set."""
        sides = {"real": self.real, "synthetic": self.synthetic}
        return {name: side for name, side in sides.items() if side is not None}


def describe_latents(
    real: NDArray[np.float32],
    synthetic: NDArray[np.float32] | None = None,
    *,
    components: int = 10,
    traversed: int = 4,
    steps: tuple[float, ...] = _STEPS,
) -> LatentView:
    """Return the view of latents (posterior means), optionally with those of another set.

    Args:
        real: Latents of the real slices, ``[N, D]``, with N at least 2.
        synthetic: Latents of the synthetic slices, ``[M, D]``; None if there are none.
        components: Number of principal directions of the real latents; fewer if fewer exist.
        traversed: Number of directions to traverse, through the mean of the real latents.
        steps: Steps of the traversals, in standard deviations.
    """
    count = min(components, len(real) - 1, real.shape[1])
    pca = PCA(count, svd_solver="covariance_eigh" if len(real) > real.shape[1] else "full")
    with np.errstate(invalid="ignore"):  # Without variance, the ratios are 0 / 0.
        pca.fit(real.astype(np.float64))
    # The sign of a direction is arbitrary; it is fixed so that equal latents give equal views.
    largest = np.abs(pca.components_).argmax(1)
    pca.components_ *= np.sign(pca.components_[np.arange(count), largest])[:, None]
    scales = np.sqrt(pca.explained_variance_[:traversed])
    moves = np.multiply.outer(scales, np.array(steps))[:, :, None]
    traversals = pca.mean_ + moves * pca.components_[:traversed, None]
    edges = np.linspace(-_WIDEST, _WIDEST, _BINS + 1)
    return LatentView(
        real=_occupancy(real, pca, edges),
        synthetic=None if synthetic is None else _occupancy(synthetic, pca, edges),
        explained=np.nan_to_num(pca.explained_variance_ratio_),
        edges=edges,
        normal=np.diff(ndtr(edges)) / np.diff(edges),
        steps=tuple(steps),
        traversals=traversals.astype(np.float32),
        scales=scales,
    )


def _occupancy(latents: NDArray[np.float32], pca: PCA, edges: NDArray[np.float64]) -> Occupancy:
    return Occupancy(
        points=pca.transform(latents.astype(np.float64)),
        density=np.histogram(latents, edges)[0] / (latents.size * np.diff(edges)),
        inside=float((np.abs(latents) <= _INSIDE).mean()),
    )


class LatentViewPictures(NamedTuple):
    """The latent view with its decoded pictures.

    Attributes:
        view: The numbers of the view.
        traversals: Pictures decoded from its traversals, ``[T, steps, size, size]``.
    """

    view: LatentView
    traversals: NDArray[np.float32]


def latents_of(
    model: SliceVAE,
    side: DecodedSet,
    seed: int,
    device: torch.device,
    progress: Progress = ignore_progress,
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return latents of slices, ``[N, D]``, and the indices of these slices, in ascending order.

    Args:
        model: Model in eval mode, on the CPU.
        side: The slices.
        seed: Random seed for choosing slices if there are very many.
        device: Device to compute on.
        progress: Called with (stage, done, total, note) as slices are encoded.
    """
    rows = np.arange(len(side), dtype=np.intp)
    if len(side) > _MOST:
        random = generator(seed, "latents", len(side))
        rows = np.sort(random.choice(rows, _MOST, replace=False))
    features = side.features.get("encoder")
    if features is not None and features.shape[1] == math.prod(model.latent_shape):
        return features[rows], rows
    extractor = encoder(model, device, whole=True)
    return extract(extractor, side.pool, rows=rows, progress=progress), rows


def decoded_view(
    model: SliceVAE,
    real: NDArray[np.float32],
    synthetic: NDArray[np.float32] | None,
    device: torch.device,
) -> LatentViewPictures:
    """Return the view of latents, with pictures decoded along the principal directions.

    Args:
        model: Model in eval mode, on the CPU.
        real: Latents that define the principal directions, ``[N, D]``.
        synthetic: Latents to show with them, ``[M, D]``, or None.
        device: Device to compute on.
    """
    view = describe_latents(real, synthetic)
    z = torch.from_numpy(view.traversals)
    decoded = Codec(model, device, torch.float32).decode(z.flatten(0, 1))[:, 0]
    pictures = decoded.clamp(0, 1).cpu().numpy().reshape(*z.shape[:2], *decoded.shape[1:])
    return LatentViewPictures(view, pictures)


class LatentFigure(NamedTuple):
    """A figure of a latent view.

    Attributes:
        name: Name of its file, without a suffix.
        figure: The figure itself.
        alternative: Alternative text.
        caption: Text below the figure.
        wide: Whether it takes the full width of the page.
    """

    name: str
    figure: Drawing
    alternative: str
    caption: str
    wide: bool = False


def latent_figures(
    latent: LatentViewPictures, points: Mapping[str, Mapping[str, NDArray[np.float64]]]
) -> Iterator[LatentFigure]:
    """Draw the distribution of units, the positions of slices, and decoded directions.

    Args:
        latent: The latent view.
        points: For each way to colour slices, their coordinates ``[N, K]`` by name.
    """
    view = latent.view
    heights = {name: side.density for name, side in view.sides.items()}
    yield LatentFigure(
        "distribution",
        densities(view.edges, heights | {"N(0, 1)": view.normal}, "value of a latent unit"),
        "Distribution of all latent units, compared with N(0, 1)",
        "All units of all slices",
    )
    axes = [f"direction {n}: {100 * share:.1f} %" for n, share in enumerate(view.explained[:2], 1)]
    for colouring, named in points.items():
        if len(axes) == 2:
            yield LatentFigure(
                f"scatter_{colouring}",
                clouds({name: found[:, :2] for name, found in named.items()}, *axes),
                f"Positions of slices along the first two directions, coloured by {colouring}",
                f"One point for each slice, coloured by {colouring}; directions with their share "
                "of the variance",
            )
    names = [f"{step:+.0f} SD" if step else "mean" for step in view.steps]
    directions = zip(latent.traversals, view.explained, view.scales, strict=False)
    for number, (pictures, share, scale) in enumerate(directions, 1):
        steps = ", ".join(f"{step * scale:+.3g}" for step in view.steps)
        yield LatentFigure(
            f"traversal_{number}",
            tiles(pictures, names),
            f"Decodes along direction {number}, from {names[0]} to {names[-1]}",
            f"Direction {number}, {100 * share:.1f} % of the variance; steps {steps}",
            wide=True,
        )


def latent_gallery(shown: Iterable[LatentFigure]) -> Markup:
    """Return the figures for a page: side by side, and below them those of full width."""
    parts = [(f.wide, part("drawing", f.figure.uri, f.alternative, f.caption)) for f in shown]
    narrow = figures(html for wide, html in parts if not wide)
    return narrow + Markup("").join(html for wide, html in parts if wide)


class LatentSpace(Statistic[LatentViewPictures]):
    """Where both sets lie in the latent space of the model."""

    name = "latent"
    title = "Where do the sets lie in the latent space?"
    explanation = (
        "Directions are the principal components of the real latents, the widest first. Of the "
        "units of a standard normal distribution, a share of 0.866 lies within [-1.5, 1.5]."
    )
    numbers: ClassVar[Mapping[str, str]] = {
        "real.inside": "Share of the units within [-1.5, 1.5], real slices",
        "synthetic.inside": "Share of the units within [-1.5, 1.5], synthetic slices",
    }

    def measure(self, sets: ComparedSets, settings: AuditSettings) -> LatentViewPictures | None:
        """Encode both sets; return None without a model."""
        if settings.model is None:
            return None
        network, device = settings.model.network, settings.device
        real, synthetic = (
            latents_of(network, side, settings.seed, device, settings.progress)[0]
            for side in (sets.real, sets.synthetic)
        )
        return decoded_view(network, real, synthetic, device)

    def as_json(self, result: LatentViewPictures) -> Any:
        """Return the share of units near 0, and the variance along the directions."""
        inside = {name: {"inside": side.inside} for name, side in result.view.sides.items()}
        return {"explained": result.view.explained, **inside}

    def table(self, report: Report) -> Markup:
        """Return a table of the numbers, which have no baseline."""
        rows = [(text, cell(report, f"{self.name}.{path}")) for path, text in self.numbers.items()]
        return part("table", "Measured values", ("measure", "value"), rows)

    def section(
        self, result: LatentViewPictures, report: Report, sets: ComparedSets
    ) -> Iterator[Markup]:
        """Yield the table, the positions of the slices, and what the model decodes."""
        yield from super().section(result, report, sets)
        points = {name: side.points for name, side in result.view.sides.items()}
        yield latent_gallery(latent_figures(result, {"set": points}))
