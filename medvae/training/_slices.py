"""The slices that a model is trained on, kept in memory on the model's canvas."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Randomizable, Transform
from numpy.typing import NDArray
from torch.utils.data import Dataset

from medvae.errors import DecodeError, ReadError, UsageProblem
from medvae.files import Paths, as_paths
from medvae.intensity import WINDOWS, model_image, window
from medvae.labels import attach_labels, check_outlines, folded
from medvae.notices import notice
from medvae.readers import check_unchanged, open_studies, pixel_fingerprint, read_pixels
from medvae.records import Slice, Study
from medvae.split import make_split, read_split, write_split

_FEW = 5
"""Maximum number of label problems that are reported one by one."""


class TrainingSlices:
    """Slices of studies on the model's canvas, split by patient.

    Each slice takes ``2 * size ** 2`` bytes: 100 KB at 224x224.

    Args:
        paths: Files and folders, as ``open_studies`` reads them.
        size: Side length of the canvas in pixels.
        labels: Label file, used for the patients that it names.
        outlines: Masks for the boxes of the labels; their files are not trained on.
        split: JSON file with the patients of each side; if None, the split is made from ``seed``.
        validation_share: Share of the patients that is held out if ``split`` is None.
        seed: Random seed of the split.
        intensity: Spec of the map from native to model values, as for ``intensity_rule``.
        modality: Modality of files that do not state one.
        record: File to which the split is written.
        resume: Whether to keep an existing record, which is that of the resumed run.

    Attributes:
        training, validation: Slices on either side of the split.
        intensity: Spec of the intensity map: the given one, or the single map of all CT slices if
            their values cannot be HU; None if each modality has its own.
        modalities: Modalities of the slices, as far as they are known.

    Raises:
        ReadError: No slice can be read.
    """

    def __init__(
        self,
        paths: Paths,
        size: int,
        *,
        labels: str | None = None,
        outlines: str | None = None,
        split: str | None = None,
        validation_share: float = 0.2,
        seed: int = 0,
        intensity: str | None = None,
        modality: str | None = None,
        record: str | None = None,
        resume: bool = False,
    ) -> None:
        check_outlines(labels, outlines)
        studies = _studies(paths, modality)
        if labels is not None:
            studies = _labelled(studies, labels, outlines)
        slices = [item for study in studies for item in study.slices]
        sides = (
            make_split(slices, validation_share, seed)
            if split is None
            else read_split(Path(split), slices)
        )
        if record is not None and not (resume and Path(record).is_file()):
            write_split(Path(record), sides)
        self.modalities = sorted({item.modality for item in slices if item.modality})
        self.training, self.validation = (
            CanvasSlices([item for item in slices if item.group in groups], size, intensity)
            for groups in (sides.training, sides.validation)
        )
        self._sides = {"training": self.training, "validation": self.validation}
        self.intensity = intensity
        maps = self.training.maps | self.validation.maps
        if intensity is None and self.modalities == ["CT"] and len(maps) == 1:
            (only,) = maps
            self.intensity = None if only == window(*WINDOWS["soft-tissue"]).name else only
        self._where = Path(record).parent if record is not None else Path()

    def state_dict(self) -> dict[str, dict[str, str]]:
        """Return fingerprints of the slices of each side, to be saved in a checkpoint."""
        return {name: side.fingerprints for name, side in self._sides.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, str]]) -> None:
        """Check that the slices are those of a checkpoint, on the same sides.

        Raises:
            UsageProblem: A slice is on the other side, has changed, is new, or is missing.
        """
        for name, other in (("training", self.validation), ("validation", self.training)):
            if moved := state[name].keys() & other.fingerprints.keys():
                raise UsageProblem(
                    f"{other.files[min(moved)]}: was a {name} slice when the run in {self._where} "
                    "began; pass the labels and the split that it began with"
                )
        for name, side in self._sides.items():
            check_unchanged(state[name], side.fingerprints, side.files, self._where)


class CanvasSlices(Sequence[dict[str, Any]]):
    """Slices on the model's canvas, with ``image``, ``[1, size, size]``, ``key`` and ``group``.

    Args:
        slices: Slices as they were read.
        size: Side length of the canvas in pixels.
        intensity: Spec of the map from native to model values, as for ``intensity_rule``.

    Attributes:
        images: Images of the slices, ``[N, 1, size, size]``, in float16.
        keys, groups: Keys of the slices and groups of their patients, ``N`` of each.
        maps: Specs of the intensity maps.
        not_decoded: Messages on slices that could not be decoded and are left out.
        fingerprints, files: Pixel fingerprints and files of the slices, by key.

    Raises:
        ReadError: No slice can be decoded.
    """

    def __init__(self, slices: Sequence[Slice], size: int, intensity: str | None = None) -> None:
        images: list[NDArray[np.float16]] = []
        self.keys: list[str] = []
        self.groups: list[str] = []
        self.maps: set[str] = set()
        self.not_decoded: list[str] = []
        self.fingerprints: dict[str, str] = {}
        self.files: dict[str, Path] = {}
        for item, pixels in read_pixels(slices):
            if isinstance(pixels, DecodeError):
                self.not_decoded.append(str(pixels))
                continue
            image, _, used = model_image(item, pixels, size, intensity)
            self.maps.add(used.name)
            images.append(image.astype(np.float16))
            self.fingerprints[item.key] = pixel_fingerprint(item, pixels)
            self.files[item.key] = item.source.path
            self.keys.append(item.key)
            self.groups.append(item.group)
        if not images:
            raise ReadError(f"{self.not_decoded[0]} (and none of the other slices can be decoded)")
        self.images = torch.from_numpy(np.stack(images)[:, None])

    @classmethod
    def open(
        cls,
        paths: Paths,
        size: int,
        *,
        intensity: str | None = None,
        modality: str | None = None,
    ) -> CanvasSlices:
        """Read all slices of files and folders.

        Raises:
            ReadError: There are no slices.
        """
        return cls(
            [s for study in _studies(paths, modality) for s in study.slices], size, intensity
        )

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> dict[str, Any]:  # type: ignore[override]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return {
            "image": MetaTensor(
                self.images[index].float(), meta={"filename_or_obj": self.keys[index]}
            ),
            "key": self.keys[index],
            "group": self.groups[index],
        }


class SliceDataset(Dataset[Mapping[str, Any]]):
    """Dataset with a transform whose random draws depend only on seed, epoch and slice.

    A slice is augmented and corrupted identically whatever the order, the batch size, the number
    of loader processes, or how often training was resumed.

    Args:
        data: Items of the dataset.
        transform: Transform that receives a random state for each item before it is called.
        seed: Random seed of the training.

    Attributes:
        epoch: Number of the current epoch, from 1; set it before each epoch.
    """

    def __init__(
        self, data: Sequence[Mapping[str, Any]], transform: Transform, seed: int = 0
    ) -> None:
        self.data = data
        self.transform = transform
        self.seed = seed
        self.epoch = 1

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        item = self.data[index]
        if isinstance(self.transform, Randomizable):
            key = f"{self.seed} {self.epoch} {item['key']}".encode()
            digest = hashlib.blake2b(key, digest_size=4).digest()
            self.transform.set_random_state(seed=int.from_bytes(digest, "little"))
        transformed: Mapping[str, Any] = self.transform(item)
        return transformed


def _studies(paths: Paths, modality: str | None) -> tuple[Study, ...]:
    paths = as_paths(paths)
    studies = open_studies(paths, modality=modality).studies
    if not studies:
        names = ", ".join(map(str, paths))
        raise ReadError(f"{names}: holds no slice that can be read; choose other files")
    return studies


def _labelled(studies: Sequence[Study], labels: str, outlines: str | None) -> tuple[Study, ...]:
    """Attach labels, and report those that could not be used."""
    attached = attach_labels(studies, Path(labels), None if outlines is None else Path(outlines))
    if attached.outlines is not None:
        notice(f"outlines: {attached.outlines}")
    lines = list(folded(attached.problems))
    for line in lines[:_FEW]:
        notice(f"not used: {line}")
    if len(lines) > _FEW:
        notice(f"{len(lines) - _FEW} more of the labels could not be used")
    return attached.studies
