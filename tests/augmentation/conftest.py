"""Studies and bundles that all tests of the augmentation share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from heads import SIDE, annotation, save_run
from medvae.latent import LatentStatistics
from medvae.networks import load_model, save_model
from medvae.training import CanvasSlices
from phantoms import dicom_slice, save

GAPS = (4.0, 4.0, 3.0, 5.0)
"""Millimetres from slice to slice: two patients with a lesion, two without."""

REACH = (25, 25, 25, 80)
"""Up to where the series go."""


@pytest.fixture(scope="session")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients with a round head from crown to base, and their labels in COCO.

    Lesions are balls through several slices. Series begin and end with empty slices, of which the
    last patient has more than others.
    """
    folder = tmp_path_factory.mktemp("volumes")
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for patient, gap in enumerate(GAPS):
        for index, z in enumerate(np.arange(-25, REACH[patient] + 0.1, gap)):
            pixels, lesion = cut(patient, float(z))
            name = f"v{patient}/{index:02}.dcm"
            dataset = dicom_slice(
                index,
                pixels=pixels,
                series=f"1.2.840.98.{patient + 1}",
                StudyInstanceUID=f"1.2.840.98.7.{patient + 1}",
                PatientID=f"volume {patient}",
                ImagePositionPatient=[-5.0, 7.0, 100.0 * patient + float(z)],
                PixelSpacing=[1.0, 1.0],
            )
            save(dataset, folder / name)
            number = len(images) + 1
            images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
            if lesion.any():
                annotations.append(annotation(len(annotations) + 1, number, lesion))
    categories = [{"id": 1, "name": "glioma", "supercategory": "lesion"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "coco.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="session")
def volume_run(volumes: Path, once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A bundle that was trained on them until its latents say how heads vary."""
    return once("volume_run", lambda folder: save_volume_run(folder, volumes))


def save_volume_run(folder: Path, volumes: Path) -> None:
    save_run(folder, volumes)
    model = load_model(folder / "models").train()
    slices = CanvasSlices.open(volumes, model.image_size)
    images = slices.images.float()
    draws = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(120):
        mu, logvar = model.encode(images)
        noise = torch.randn(mu.shape, generator=draws)
        lost = (model.decode(mu + noise * (logvar / 2).exp()) - images).square().sum()
        spread = (mu.square() + logvar.exp() - logvar - 1).sum()
        optimiser.zero_grad()
        (lost + spread / 20).backward()
        optimiser.step()
    model.eval()
    save_model(model, folder / "models")
    with torch.no_grad():
        mu, logvar = model.encode(images)
    LatentStatistics.of(slices.keys, slices.groups, mu, logvar).save(folder / "models")


def cut(patient: int, z: float) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Return a slice of a head of 48 mm, ``[SIDE, SIDE]``, and the lesion on it."""
    random = np.random.default_rng([patient, round(z + 100)])
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    inside = (y / 28) ** 2 + (x / (22 + patient)) ** 2 + (z / 22) ** 2 < 1
    lesion = np.sqrt((y + 4) ** 2 + (x - 8) ** 2 + z**2) < 7.5 + patient
    lesion &= patient < 2
    ripple = np.cos(y / 9 + patient + z / 15)
    level = 300 * inside + 160 * lesion + 40 * ripple * inside
    pixels = level + random.normal(40, 6, (SIDE, SIDE)) * inside.any()
    return pixels.clip(0, 4000).astype(np.uint16), lesion
