"""Compare how well a model, a median filter and biharmonic inpainting restore held-out slices.

    python examples/benchmarks/restoration.py DATA --model RUN --split split.json --out curve.png

Each slice gets mild Gaussian noise and keeps 10 to 100 % of its pixels, singly or in blocks of 8x8.
All three methods get the same pictures and know which pixels are missing. The median filter uses
the best window for each metric. Exit code 1 means that a target was missed: with 40 % of the pixels
left, 0.75 of the variance for a vector latent and 0.90 for a spatial one, and better than both
filters in both metrics, for either form of missing pixels. Requires matplotlib.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor
from torch.nn import functional

from medvae.errors import DecodeError
from medvae.intensity import model_image
from medvae.labels import attach_labels
from medvae.metrics import NOISE, Degraded, degrade, pooled_variance_explained, restore, ssim
from medvae.models import TrainedModel, open_model
from medvae.networks import inference_copy
from medvae.readers import open_studies, read_pixels
from medvae.records import Slice

FORMS = {"pixels": 1, "8x8 blocks": 8}
PERCENTAGES = tuple(range(10, 101, 10))
METHODS = ("model", "median", "biharmonic")
WINDOWS = (3, 5, 7, 9)

Figures = dict[str, float]
Table = dict[str, dict[int, dict[str, Figures]]]
"""Metrics by form, percentage left, and method."""


def main() -> None:
    """Run the benchmark, print the results and plot them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--model", required=True, help="a trained bundle")
    parser.add_argument("--labels", type=Path, help="labels, which say who is which patient")
    parser.add_argument("--split", type=Path, help="measure its validation patients only")
    parser.add_argument("--slices", type=int, default=64, help="at most, spread evenly")
    parser.add_argument("--out", type=Path, help="plot of the curves")
    arguments = parser.parse_args()
    run = open_model(arguments.model)
    slices = held_out_slices(arguments.data, arguments.labels, arguments.split)
    slices, images = model_images(spread_evenly(slices, arguments.slices), run)
    table = measure(run, images)
    patients = len({item.group for item in slices})
    about = {"slices": len(slices), "patients": patients, "noise": NOISE}
    print(json.dumps(about | table, indent=2))
    if arguments.out:
        plot(table, arguments.out, f"{len(slices)} slices of {patients} patients")
    sys.exit(0 if aims_are_met(table, len(run.network.latent_shape)) else 1)


def held_out_slices(data: list[Path], labels: Path | None, split: Path | None) -> list[Slice]:
    """Return the slices of the split's validation patients; without a split, all of them."""
    studies = open_studies(data).studies
    if labels:
        studies = attach_labels(studies, labels).studies
    slices = [item for study in studies for item in study.slices]
    if split:
        held_out = set(json.loads(split.read_text(encoding="utf-8"))["validation"])
        slices = [item for item in slices if item.group in held_out]
    if not slices:
        sys.exit("no slices to measure: check DATA, --labels and --split")
    return slices


def spread_evenly(slices: Sequence[Slice], count: int) -> list[Slice]:
    """Return at most `count` of the slices, evenly spaced from the first to the last."""
    places = np.linspace(0, len(slices) - 1, min(count, len(slices))).round().astype(int)
    return [slices[place] for place in places]


def model_images(slices: Iterable[Slice], run: TrainedModel) -> tuple[list[Slice], Tensor]:
    """Return the slices that can be decoded, and their model input, `[N, 1, H, W]`."""
    decoded, images = [], []
    for item, pixels in read_pixels(slices):
        if isinstance(pixels, DecodeError):
            print(f"left out: {pixels}", file=sys.stderr)
            continue
        image, _, _ = model_image(item, pixels, run.network.image_size, run.intensity)
        decoded.append(item)
        images.append(torch.from_numpy(image)[None])
    if not images:
        sys.exit("none of the slices can be decoded")
    return decoded, torch.stack(images)


def measure(run: TrainedModel, images: Tensor) -> Table:
    """Restore slices `[N, 1, H, W]` in every form, at every percentage, with every method."""
    model = inference_copy(run.network)

    def attempts(degraded: Degraded) -> Iterable[Iterable[Tensor]]:
        yield [restore(model, degraded.image)]
        yield (median_filtered(degraded, window) for window in WINDOWS)
        yield [biharmonic(degraded)]

    table: Table = {form: {} for form in FORMS}
    for form, block in FORMS.items():
        for percentage in PERCENTAGES:
            degraded = degrade(images, percentage / 100, block)
            figures = (best_figures(tried, images) for tried in attempts(degraded))
            table[form][percentage] = dict(zip(METHODS, figures, strict=True))
            print(f"{form}, {percentage} % left: {table[form][percentage]}", file=sys.stderr)
    return table


def best_figures(attempts: Iterable[Tensor], clean: Tensor) -> Figures:
    """Return the best value of each metric over restored images, each `[N, 1, H, W]`."""
    explained, similar = [], []
    for attempt in attempts:
        picture = attempt.clamp(0, 1)
        explained.append(pooled_variance_explained(picture, clean))
        similar.append(float(ssim(picture, clean).mean()))
    return {"variance_explained": round(max(explained), 4), "ssim": round(max(similar), 4)}


def median_filtered(degraded: Degraded, window: int) -> Tensor:
    """Filter degraded pictures, `[N, 1, H, W]`, by the median of the pixels left in a window.

    Holes larger than the window are filled from the edges inwards, using pixels already filled.
    """
    pictures = degraded.image.masked_fill(~degraded.left, torch.nan)
    return torch.stack([_median_filled(picture[0], window)[None] for picture in pictures])


def _median_filled(picture: Tensor, window: int) -> Tensor:
    """Filter one picture `[H, W]` that is NaN where a pixel is missing."""
    margin = window // 2
    filled = functional.pad(picture, [margin] * 4, value=torch.nan)
    inside = functional.pad(torch.ones_like(picture), [margin] * 4) > 0
    filled[inside] = _medians(filled, inside, window)
    while (holes := inside & filled.isnan()).any():
        known = (~filled.isnan()).float()[None]
        rim = holes & (functional.max_pool2d(known, window, stride=1, padding=margin)[0] > 0)
        filled[rim] = _medians(filled, rim, window)
    return filled[margin:-margin, margin:-margin]


def _medians(picture: Tensor, where: Tensor, window: int) -> Tensor:
    """Return the medians of the known pixels around the n pixels marked in `[H, W]`, `[n]`."""
    reach = torch.arange(window) - window // 2
    offsets = (reach[:, None] * picture.shape[1] + reach).flatten()
    around = picture.flatten()[where.flatten().nonzero() + offsets]
    # With an even number of values, torch returns the lower of the two middle ones.
    return (around.nanmedian(1).values - (-around).nanmedian(1).values) / 2


def biharmonic(degraded: Degraded) -> Tensor:
    """Fill the missing pixels of pictures, `[N, 1, H, W]`, with the surface of least bending.

    The result equals that of scikit-image's `inpaint_biharmonic` up to rounding.
    """
    pictures = degraded.image[:, 0].double().numpy()
    bending = _bending(pictures.shape[1:])

    def fill(picture: NDArray[np.float64], left: NDArray[np.bool_]) -> NDArray[np.float64]:
        known = np.flatnonzero(left)
        missing = np.flatnonzero(~left)
        filled = picture.ravel().copy()
        if len(missing):
            equations = bending[missing]
            matrix = equations[:, missing].tocsc()
            # Symmetric positive definite: without pivoting, this is several times as fast.
            solver = splu(
                matrix, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
            )
            surface = solver.solve(-(equations[:, known] @ filled[known]))
            filled[missing] = surface.clip(filled[known].min(), filled[known].max())
        return filled.reshape(picture.shape)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        filled = list(pool.map(fill, pictures, degraded.left[:, 0].numpy()))
    return torch.from_numpy(np.stack(filled))[:, None].float()


def _bending(shape: tuple[int, ...]) -> sparse.csr_array:
    """Return the biharmonic operator for pictures of this shape, mirrored at the edges."""
    rows, columns = (_second_difference(side) for side in shape)
    laplacian = sparse.kron(rows, sparse.eye_array(shape[1]))
    laplacian += sparse.kron(sparse.eye_array(shape[0]), columns)
    return sparse.csr_array(laplacian.T @ laplacian)


def _second_difference(side: int) -> sparse.dia_array:
    middle = np.full(side, -2.0)
    middle[[0, -1]] = -1.0
    beside = np.ones(side - 1)
    return sparse.diags_array([beside, middle, beside], offsets=[-1, 0, 1])


def aims_are_met(table: Table, latent_dimensions: int) -> bool:
    """Return whether the model meets the targets with 40 % of the pixels left."""
    at_40 = [by_percentage[40] for by_percentage in table.values()]
    aim = 0.75 if latent_dimensions == 1 else 0.90
    ahead = all(
        methods["model"][figure] > methods[name][figure]
        for methods in at_40
        for name in METHODS[1:]
        for figure in ("variance_explained", "ssim")
    )
    return ahead and table["pixels"][40]["model"]["variance_explained"] >= aim


def plot(table: Table, path: Path, title: str) -> None:
    """Write the curves as a picture with a column for each form and a row for each metric."""
    drawing = Figure(figsize=(10, 8))
    axes = drawing.subplots(2, len(table), sharex=True, sharey="row", squeeze=False)
    for column, (form, by_percentage) in enumerate(table.items()):
        for axis, figure in zip(axes[:, column], ("variance_explained", "ssim"), strict=True):
            for name in METHODS:
                heights = [methods[name][figure] for methods in by_percentage.values()]
                axis.plot(list(by_percentage), heights, marker="o", label=name)
            axis.set(xlabel="% left", ylabel=figure.replace("_", " "), title=form, ylim=(0, 1))
            axis.grid(alpha=0.3)
    axes[0, 0].legend()
    drawing.suptitle(f"{title}, noise {NOISE}")
    drawing.tight_layout()
    drawing.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
