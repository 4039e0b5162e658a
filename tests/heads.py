"""Studies of four patients, two of them with lesions, and a bundle that was trained on them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medvae.latent import LatentStatistics
from medvae.networks import (
    ConvDecoder,
    GrayToColor,
    PlainEncoder,
    SliceVAE,
    VectorLatent,
    save_model,
)
from medvae.training import CanvasSlices
from phantoms import dicom_slice, save

SIDE = 64
SLICES = 4
LESIONS = 4
"""Slices with one."""

SECRETS = ("Secret^Name", "ID-4711", "Hospital", "19990101", "1.2.840.99")


def head(patient: int, index: int) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Return a slice of a head, ``[SIDE, SIDE]``, and the lesion on it."""
    random = np.random.default_rng(100 * patient + index)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = ((rows - 32) / 26) ** 2 + ((columns - 32) / (20 + patient)) ** 2 < 1
    lesion = np.hypot(rows - 26, columns - 24 - 2 * patient) < 5 + index / 2
    lesion &= patient < 2 and index in (1, 2)
    level = 300 * inside + 220 * lesion + 60 * np.cos(rows / 9 + patient) * inside
    pixels = level + random.normal(40, 8, (SIDE, SIDE))
    return pixels.clip(0, 4000).astype(np.uint16), lesion


def save_heads(folder: Path) -> Path:
    """Write four patients with a series of four slices each, and their labels in COCO."""
    images, annotations = [], []
    for patient in range(4):
        for index in range(SLICES):
            pixels, lesion = head(patient, index)
            dataset = dicom_slice(
                index,
                pixels=pixels,
                series=f"1.2.840.99.{patient + 1}",
                StudyInstanceUID=f"1.2.840.99.7.{patient + 1}",
                PatientID=f"ID-4711-{patient}",
                PatientName=f"Secret^Name{patient}",
                InstitutionName="Hospital",
                StudyDate="19990101",
            )
            number, name = len(images) + 1, f"p{patient}/{index:03}.dcm"
            save(dataset, folder / name)
            images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
            if lesion.any():
                annotations.append(annotation(len(annotations) + 1, number, lesion))
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "glioma", "supercategory": "lesion"}],
    }
    (folder / "coco.json").write_text(json.dumps(document))
    return folder


def annotation(number: int, image: int, mask: NDArray[np.bool_]) -> dict[str, object]:
    rows, columns = np.nonzero(mask)
    x, y = int(columns.min()), int(rows.min())
    box = [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y]
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": box,
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": {"size": [SIDE, SIDE], "counts": list(_runs(mask))},
    }


def _runs(mask: NDArray[np.bool_]) -> Iterator[int]:
    flat = mask.T.ravel().astype(np.int8)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flat, [0]))))
    last = 0
    for edge in edges:
        yield int(edge - last)
        last = int(edge)
    if last < flat.size:
        yield int(flat.size - last)


def save_run(folder: Path, studies: Path, modalities: Sequence[str] = ("MR",)) -> Path:
    """Write a bundle as training leaves it, of a network with weights as they were drawn."""
    torch.manual_seed(0)
    model = SliceVAE(
        GrayToColor(),
        PlainEncoder((8, 16)),
        VectorLatent(size=8, squeeze=4),
        ConvDecoder((16, 12)),
        image_size=32,
    ).eval()
    # Else all latents decode to nearly the same grey.
    torch.nn.init.normal_(model.decoder.out.weight, std=1.0)
    save_model(model, folder / "models")
    said = {
        "medvae": {"intensity": None, "modalities": modalities},
        # Weights as they were drawn hardly tell slices apart.
        "eval_metrics": {"active_units": 8.0},
    }
    (folder / "configs").mkdir()
    (folder / "configs" / "metadata.json").write_text(json.dumps(said))
    slices = CanvasSlices.open(studies, model.image_size)
    with torch.no_grad():
        mu, logvar = model.encode(slices.images.float())
    LatentStatistics.of(slices.keys, slices.groups, mu, logvar).save(folder / "models")
    return folder
