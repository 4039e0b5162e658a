"""Synthetic examples, made by the library from the labelled patients of a cell and stored."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medvae import attach_labels, augment, open_studies, write_coco
from medvae.atomic import write_bytes, write_text
from medvae.errors import ReadError
from medvae.labels import LabelledImage
from medvae.models import open_model
from medvae.records import Labels

from .arms import Synthetic
from .hosts import HOSTS, ChosenHosts
from .slices import DataSet, Examples, example, on_canvas
from .vae import Made, once

__all__ = ["Factory", "Lot"]

_EXAMPLES, _OUTCOMES = "examples.npz", "outcomes.json"


@dataclass(frozen=True, eq=False)
class Lot:
    """Synthetic slices of one cell.

    Attributes:
        examples: Slices as the detector sees them.
        outcomes: Number of draws that were kept, and that were rejected for each reason.
        seconds: Seconds that it took to make them; None if interrupted.
    """

    examples: Examples
    outcomes: Mapping[str, int]
    seconds: float | None


@dataclass(frozen=True, eq=False)
class Factory:
    """Factory of synthetic examples.

    Attributes:
        data: All slices.
        size: Side of the canvas in pixels.
        intensity: Rule for the intensities of the canvas.
        out: Folder in which the examples are stored.
        device: Device that the library computes on.
        keep_pictures: Whether to keep the images of `medvae augment` after they are read.
    """

    data: DataSet
    size: int
    intensity: str | None
    out: Path
    device: str | None = None
    keep_pictures: bool = False

    def lot(
        self,
        recipe: Synthetic,
        run: Made,
        labelled: frozenset[str],
        strangers: frozenset[str],
        seed: int,
    ) -> Lot:
        """Make the slices that a recipe describes.

        Args:
            recipe: Description of how they are made.
            run: Trained autoencoder.
            labelled: Patients whose labels may be used.
            strangers: Other patients, whose lesion-free slices may be hosts.
            seed: Random seed for all draws.
        """
        key = repr((recipe, run.folder.name, sorted(labelled), sorted(strangers), seed))
        folder = self.out / hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
        sources = self.data.worth_training_on(labelled)
        others = self.data.free(strangers) if recipe.transplants else []
        hosts = others if recipe.hosts != "labelled" else []

        def make(resume: bool) -> None:
            if recipe.hosts in HOSTS:
                self._chosen(folder, recipe, run.folder, sources, hosts, seed)
            else:
                self._augmented(folder, recipe, run.folder, sources, hosts, seed, resume)

        made = once(folder, make, Path("run.json"))
        if not self.keep_pictures:
            shutil.rmtree(folder / "images", ignore_errors=True)
        with np.load(folder / _EXAMPLES) as known:
            examples = Examples(*(torch.from_numpy(known[name]) for name in ("images", "boxes")))
        outcomes = json.loads((folder / _OUTCOMES).read_text(encoding="utf-8"))
        return Lot(examples, outcomes, made.seconds)

    def _augmented(
        self,
        folder: Path,
        recipe: Synthetic,
        run: Path,
        sources: Sequence[int],
        hosts: Sequence[int],
        seed: int,
        resume: bool,
    ) -> None:
        """Make the slices with `medvae augment`."""
        labels = folder.with_name(f"{folder.name}-labels.json")
        self._write_labels(labels, sources)
        native = [self.data.slices[row] for row in sources]
        formats = {"picture": "png", "dicom": "dicom"}
        modality = next((item.modality for item in native if item.modality), None)
        done = augment(
            self.data.files(sources),
            run,
            folder,
            labels=labels,
            hosts=self.data.files(hosts),
            modality=modality,
            device=self.device,
            resume=resume,
            render=recipe.render,
            sampler=recipe.sampler,
            strength=recipe.strength,
            ratio=recipe.draws / len(sources),
            balance=recipe.balance,
            formats=(formats.get(native[0].source.format, "nifti"),),
            seed=seed,
        )
        if not done.kept:
            raise ReadError(f"{folder}: no draw was kept: {dict(done.rejected)}")
        studies = open_studies([folder / "images"], modality=modality).studies
        made = attach_labels(studies, folder / "coco.json").studies
        slices = [item for study in made for item in study.slices if item.labels is not None]
        _, examples = on_canvas(
            sorted(slices, key=lambda item: item.key), self.size, self.intensity
        )
        _keep(folder, examples, {"kept": done.kept, **dict(done.rejected)})

    def _write_labels(self, path: Path, rows: Sequence[int]) -> None:
        """Write the labels of some slices only."""
        known = (self.data.slices[row] for row in rows)
        write_coco(
            path,
            [
                LabelledImage(
                    str(item.source.path), item.shape, item.labels or Labels(), item.group, item.key
                )
                for item in known
            ],
        )

    def _chosen(
        self,
        folder: Path,
        recipe: Synthetic,
        run: Path,
        sources: Sequence[int],
        hosts: Sequence[int],
        seed: int,
    ) -> None:
        """Make transplants into hosts that are drawn as an entry of `HOSTS` states."""
        maker = ChosenHosts(
            open_model(run),
            [self.data.slices[row] for row in sources],
            [self.data.slices[row] for row in hosts],
            HOSTS[recipe.hosts],
        )
        images, boxes = [], []
        for item, pixels in maker.draw(recipe.draws, seed):
            image, own = example(item, pixels, self.size, self.intensity)
            images.append(image)
            boxes.append(own)
        if not images:
            raise ReadError(f"{folder}: no draw was kept")
        outcomes = {"kept": len(images), "rejected": recipe.draws - len(images)}
        _keep(folder, Examples.of(images, boxes), outcomes)


def _keep(folder: Path, examples: Examples, outcomes: Mapping[str, int]) -> None:
    """Write the examples and the outcomes of synthetic slices."""
    packed = io.BytesIO()
    np.savez_compressed(packed, images=examples.images.numpy(), boxes=examples.boxes.numpy())
    write_bytes(folder / _EXAMPLES, packed.getvalue())
    write_text(folder / _OUTCOMES, json.dumps(outcomes, indent=1) + "\n")
