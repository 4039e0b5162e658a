"""Measure how fast slices are warped, compared with plain Gaussian demons.

    python examples/benchmarks/warp_speed.py

Both methods get the same pairs of smooth pictures in place of decoded ones, and the same slices of
that size, each with a mask. They run in turn, and each is reported by its fastest turn. The share
of the mean squared difference of a pair that the field removes shows whether speed costs quality.
Exit code 1 means that a target was missed: `warp` at least 10 times as fast, no fold, and at most
0.05 less of the difference removed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medvae.intensity import Canvas, IntensityMap
from medvae.records import Category, Finding, Labels, Mask, Pixels, Slice
from medvae.render import Rendered, Scene, make_render

AIM = 10
DEMONS = "three-level Gaussian demons, 80 iterations"
LEVELS = ((4, 30), (2, 30), (1, 20))
"""Reduction factor of the pictures and number of iterations, for each level."""

FORCE_SIGMA, FIELD_SIGMA, DETAIL_SIGMA = 1.0, 2.0, 1.5


def main() -> None:
    """Run the benchmark and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="of canvas and slices")
    parser.add_argument("--slices", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    before, after = pairs(arguments.slices, arguments.size)
    scenes = [scene(picture) for picture in before]
    warp = make_render("warp")
    seconds = {"warp": float("inf"), DEMONS: float("inf")}
    for _ in range(arguments.rounds):
        start = time.perf_counter()
        rendered = warp.render(scenes, before, after)
        middle = time.perf_counter()
        fields = demons_rendered(scenes, before, after)
        seconds["warp"] = min(seconds["warp"], middle - start)
        seconds[DEMONS] = min(seconds[DEMONS], time.perf_counter() - middle)
    ratio = seconds[DEMONS] / seconds["warp"]
    removed = {
        "warp": removed_share(warped_alone(before, after), before, after),
        DEMONS: removed_share(pulled(before, fields), before, after),
    }
    least = min(item.numbers["least_jacobian"] for item in rendered)
    figures = {
        "size": arguments.size,
        "threads": arguments.threads,
        "slices_per_second": {k: round(len(scenes) / v, 1) for k, v in seconds.items()},
        "ratio": round(ratio, 1),
        "difference_removed": {name: round(share, 3) for name, share in removed.items()},
        "least_jacobian": round(least, 3),
    }
    print(json.dumps(figures, indent=2))
    as_good = removed["warp"] >= removed[DEMONS] - 0.05
    sys.exit(0 if ratio >= AIM and least > 0 and as_good else 1)


def pairs(count: int, size: int) -> tuple[Tensor, Tensor]:
    """Return ovals with smooth content, `[N, 1, size, size]`, and deformed versions of them."""
    random = torch.Generator().manual_seed(0)
    content = torch.rand(count, 1, 9, 9, generator=random) * 0.6 + 0.2
    content = functional.interpolate(content, size, mode="bicubic", align_corners=True)
    place = torch.linspace(-1, 1, size)
    oval = torch.sigmoid((0.7 - torch.hypot(place, place[:, None] * 0.85)) * 25)
    before = (content * oval).clamp(0, 1)
    coarse = torch.randn(count, 2, 5, 5, generator=random) * (size / 50)
    field = functional.interpolate(coarse, size, mode="bicubic", align_corners=True)
    brighter = torch.rand(count, 1, 5, 5, generator=random) * 0.1 + 0.95
    brighter = functional.interpolate(brighter, size, mode="bicubic", align_corners=True)
    return before, (pulled(before, field) * brighter).clamp(0, 1)


def scene(picture: Tensor) -> Scene:
    """Return a slice with a lesion that shows the picture `[1, size, size]`."""
    values = (1000 * picture[0]).numpy()
    size = len(values)
    full = np.zeros((size, size), dtype=np.bool_)
    full[size // 3 : size // 2, size // 2 : 2 * size // 3] = True
    mask = Mask.of(full)
    assert mask
    labels = Labels((Finding(Category("lesion"), mask.box, mask),))
    return _scene(values, labels, IntensityMap(0, 1000, "full"))


def _scene(values: NDArray[np.float32], labels: Labels, intensity: IntensityMap) -> Scene:
    size, pixels = len(values), Pixels(values, values)
    native = Slice.in_memory(pixels, labels=labels)
    return Scene(native, pixels, Canvas((size, size), (size, size), size), intensity)


def warped_alone(before: Tensor, after: Tensor) -> Tensor:
    """Warp the decoded pictures themselves, without any change of intensity."""
    # An intensity range of zero width prevents any change of intensity.
    silent = [
        _scene(picture[0].numpy(), Labels(), IntensityMap(0, 0, "full")) for picture in before
    ]
    rendered: list[Rendered] = make_render("warp").render(silent, before, after)
    return torch.stack([torch.from_numpy(item.values)[None] for item in rendered])


def removed_share(moved: Tensor, before: Tensor, after: Tensor) -> float:
    """Return the share of the mean squared difference that is removed."""
    return 1 - float(((moved - after) ** 2).mean() / ((before - after) ** 2).mean())


def demons_rendered(scenes: list[Scene], before: Tensor, after: Tensor) -> Tensor:
    """Render like `warp` with the reference method, and return the fields."""
    fields = demons(before, after)
    values = torch.stack([torch.from_numpy(item.values)[None] for item in scenes])
    masks = [item.labels.findings[0].mask for item in scenes]
    shape = scenes[0].values.shape
    full = torch.stack([torch.from_numpy(m.on(shape).astype(np.float32))[None] for m in masks if m])
    detail = blurred(after - pulled(before, fields), DETAIL_SIGMA)
    pulled(values, fields, "bicubic").add_(1000 * detail)
    for mask in pulled(full, fields) >= 0.5:
        Mask.of(mask[0].numpy())
    return fields


def demons(source: Tensor, target: Tensor) -> Tensor:
    """Return fields `[N, 2, size, size]` that map each source onto its target."""
    size = source.shape[-1]
    field = torch.zeros(len(source), 2, 1, 1)
    for factor, iterations in LEVELS:
        moving, fixed = (functional.avg_pool2d(part, factor) for part in (source, target))
        scale = moving.shape[-1] / field.shape[-1] if factor < LEVELS[0][0] else 1.0
        field = functional.interpolate(field, size // factor, mode="bilinear") * scale
        for _ in range(iterations):
            moved = pulled(moving, field)
            difference = fixed - moved
            slope = (slopes(fixed) + slopes(moved)) / 2
            steepness = (slope**2).sum(1, keepdim=True)
            step = difference * slope / (steepness + difference**2 / 2 + 1e-3)
            field = blurred(field + blurred(step.clamp(-1, 1), FORCE_SIGMA), FIELD_SIGMA)
    return field


def pulled(source: Tensor, field: Tensor, mode: str = "bilinear") -> Tensor:
    """Return the warped source, `source(p + field(p))`."""
    size = source.shape[-1]
    here = torch.arange(size, dtype=torch.float32)
    x, y = field[:, 0] + here, field[:, 1] + here[:, None]
    places = (2 * torch.stack((x, y), -1) + 1) / size - 1
    return functional.grid_sample(
        source, places, mode=mode, padding_mode="border", align_corners=False
    )


def slopes(pictures: Tensor) -> Tensor:
    """Return central differences `[N, 2, size, size]`."""
    down, along = torch.gradient(pictures, dim=(-2, -1))
    return torch.cat((along, down), 1)


def blurred(values: Tensor, sigma: float) -> Tensor:
    """Convolve with a Gaussian."""
    reach = int(3 * sigma)
    steps = torch.arange(-reach, reach + 1)
    weights = torch.softmax(-0.5 * (steps / sigma) ** 2, 0)
    channels = values.shape[1]
    kernel = weights.expand(channels, 1, 1, -1)
    padded = functional.pad(values, (reach, reach, 0, 0), mode="replicate")
    along = functional.conv2d(padded, kernel, groups=channels)
    padded = functional.pad(along, (0, 0, reach, reach), mode="replicate")
    return functional.conv2d(padded, kernel.transpose(-1, -2), groups=channels)


if __name__ == "__main__":
    main()
