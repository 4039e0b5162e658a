"""Draw the picture of the README: slices of the sample, and the synthetic slices of the demo.

medvae demo --out medvae-demo
python examples/source_and_synthetic.py medvae-demo
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from medvae import attach_labels, open_studies
from medvae.demo import SAMPLE, SAMPLE_LABELS
from medvae.manifest import Manifest, ManifestLine
from medvae.records import Slice

PICTURE = Path(__file__).with_suffix(".png")
PATIENTS = 5


def labelled(folder: Path, labels: Path) -> list[Slice]:
    """Read slices with their labels."""
    studies = attach_labels(open_studies([folder]).studies, labels).studies
    return [native for study in studies for native in study.slices]


def draw(axes: Axes, native: Slice) -> None:
    """Show the centre of a slice with its boxes and masks."""
    values = native.pixels().values
    rows, columns = values.shape
    axes.imshow(values, cmap="gray", vmax=values.max() * 0.6)
    for finding in native.labels or ():
        box = finding.box
        corner = (box.x0 - 0.5, box.y0 - 0.5)
        axes.add_patch(Rectangle(corner, box.width, box.height, fill=False, color="#f0e442"))
        if finding.mask is not None:
            mask = finding.mask.on(native.shape)
            axes.contour(mask, [0.5], colors="#56b4e9", linewidths=1)
    axes.set(xticks=[], yticks=[])
    axes.set_xlim(0.15 * columns, 0.85 * columns)
    axes.set_ylim(0.85 * rows, 0.15 * rows)


def main(demo: Path) -> None:
    """Draw a slice from the middle of the heart of each patient, and save the picture."""
    synthetic = demo / "synthetic"
    sources = {native.key: native for native in labelled(SAMPLE, SAMPLE_LABELS)}
    made = {
        native.source.path.name: native
        for native in labelled(synthetic / "images", synthetic / "coco.json")
    }
    kept: dict[str, list[ManifestLine]] = defaultdict(list)
    for line in Manifest(synthetic):
        if line.kept:
            kept[line.groups[0]].append(line)
    shown = [lines[len(lines) // 2] for lines in kept.values()][:PATIENTS]
    figure, axes = plt.subplots(2, PATIENTS, figsize=(2 * PATIENTS, 4.1), layout="constrained")
    for (above, below), line in zip(axes.T, shown, strict=False):
        draw(above, sources[line.sources[0]])
        draw(below, made[Path(line.files[0]).name])
    axes[0, 0].set_ylabel("source")
    axes[1, 0].set_ylabel("synthetic")
    figure.savefig(PICTURE, dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
