"""Generated studies for a benchmark, and a model with random weights for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from torch import nn

from medvae.labels import LabelledImage, write_coco
from medvae.latent import LatentStatistics
from medvae.networks import SliceVAE, save_model
from medvae.records import Category, Finding, Labels, Mask
from medvae.training import CanvasSlices

__all__ = ["save_run", "save_studies"]

LESION = Category("lesion", "lesion")


def save_studies(folder: Path, studies: int, slices: int, side: int) -> Path:
    """Write MR studies of heads, each of a different patient, and their labels in COCO.

    The two slices in the middle of every second study have a lesion.

    Returns:
        The label file.
    """
    images = []
    for study in range(studies):
        for index in range(slices):
            pixels, lesion = head(study, index, slices, side)
            name = f"{study:04}/{index:03}.dcm"
            save_slice(folder / name, study, index, pixels)
            mask = Mask.of(lesion)
            findings = () if mask is None else (Finding(LESION, mask.box, mask),)
            labels = Labels(findings)
            images.append(LabelledImage(name, (side, side), labels, f"{study:04}", name))
    write_coco(folder / "coco.json", images)
    return folder / "coco.json"


def head(
    study: int, index: int, slices: int, side: int
) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Return a slice, ``[side, side]``, and the mask of its lesion."""
    patient, noise = np.random.default_rng(study), np.random.default_rng((study, index))
    width, height, phase, x, y = patient.uniform((0.6, 0.7, 0, -0.3, -0.3), (0.75, 0.85, 6, 0.3, 0))
    down, along = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    depth = 1 - 0.3 * abs(2 * index / max(1, slices - 1) - 1)
    inside = np.hypot(along / width, down / height) < depth
    lesion = np.hypot(along - x, (down - y) * 1.2) < 0.15
    lesion &= study % 2 == 0 and index in (slices // 2 - 1, slices // 2)
    folds = 60 * np.cos(9 * along + phase) * np.cos(7 * down + index / slices)
    level = (300 + folds + 220 * lesion) * inside
    pixels = level + noise.normal(60, 12, (side, side))
    return pixels.clip(0, 4095).astype(np.uint16), lesion


def save_slice(path: Path, study: int, index: int, pixels: NDArray[np.uint16]) -> None:
    """Write a slice as DICOM."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = uid.MRImageStorage
    dataset.SOPInstanceUID = f"1.2.{study + 1}.3.{index + 1}"
    dataset.StudyInstanceUID = f"1.2.{study + 1}"
    dataset.SeriesInstanceUID = f"1.2.{study + 1}.3"
    dataset.FrameOfReferenceUID = f"1.2.{study + 1}.4"
    dataset.PatientID = f"drawn {study}"
    dataset.Modality = "MR"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = [0, 0, 5 * index]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [240 / len(pixels)] * 2
    dataset.SliceThickness = 5
    dataset.InstanceNumber = index + 1
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelRepresentation = 0
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def save_run(folder: Path, network: SliceVAE, studies: Path) -> Path:
    """Write a network with random weights as a model, in the form that training writes.

    Args:
        folder: Folder for the model.
        network: The newly created network.
        studies: Studies whose latents stand in for those of a training set.
    """
    slices = CanvasSlices.open(studies, network.image_size)
    images = slices.images.float()
    settle(network, images[:16])
    with torch.inference_mode():
        parts = [network.encode(batch) for batch in images.split(16)]
    mu, logvar = (torch.cat(part) for part in zip(*parts, strict=True))
    save_model(network, folder / "models")
    LatentStatistics.of(slices.keys, slices.groups, mu, logvar).save(folder / "models")
    said = {"medvae": {"intensity": None, "modalities": ["MR"]}}
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps(said), encoding="utf-8")
    return folder


def settle(network: SliceVAE, images: torch.Tensor) -> None:
    """Set batch norms to the statistics of images `[N, 1, H, W]`, and give decodes contrast."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(images)
    for parameter in network.eval().decoder.out.parameters():
        parameter.data *= 100
