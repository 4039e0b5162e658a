"""A bank of lesions and of slices that may host them, for transplants on the fly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from medvae.files import Paths
from medvae.intensity import Canvas
from medvae.randomness import generator
from medvae.records import Category, Finding, Pixels, Slice
from medvae.render import Ground, Lesion, Refused, Rendered, Scene, transplant_to_one
from medvae.transforms._bank_build import build_bank
from medvae.transforms._bank_files import Donor, Stored, read_bank
from medvae.transforms._model import SliceModel

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Transplant:
    """A lesion of the bank, transplanted into one of its hosts.

    Attributes:
        donor, host: Slices of donor and host.
        scene: The unchanged host.
        rendered: The host with the lesion.
    """

    donor: Stored
    host: Stored
    scene: Scene
    rendered: Rendered


class TransplantBank:
    """Slices with lesions and, for each lesion, slices of other patients that may host it.

    Everything that requires a model is done when the bank is built; that includes drawing hosts
    for each lesion among the slices that look most similar around its site. Its pixels are mapped
    into memory: the workers of a data loader share them, and each worker opens the bank itself.

    Attributes:
        folder: Folder of the bank.
        size: Numbers of rows and columns of the model's canvas.
        slices: Slices of donors and hosts.
        donors: Slices with lesions that can be transplanted.
        values: Values of all slices in real units, ``[P]``, mapped into memory.
        padding: Whether each pixel is padding, ``[P]``, mapped into memory.
        categories: Categories of its lesions, in the order in which ``write_datalist`` numbers them
            from 0.
        masked: Whether all its lesions have masks.
        problems: Messages about what the build could not use, one line each; empty for a bank that
            was only opened.
    """

    def __init__(self, folder: Path, problems: Sequence[str] = ()) -> None:
        self.folder = folder
        self.problems = tuple(problems)
        self.size, self.slices, self.donors, self.values, self.padding = read_bank(folder)
        by_patient: dict[str, list[Donor]] = defaultdict(list)
        lesions: list[Finding] = []
        for donor in self.donors:
            own = self.slices[donor.place]
            by_patient[own.group].append(donor)
            lesions += [own.labels.findings[index] for index in donor.hosts]
        self._donors_of = list(by_patient.values())
        self.masked = all(lesion.mask is not None for lesion in lesions)
        found = {lesion.category for lesion in lesions}
        self.categories: tuple[Category, ...] = tuple(
            sorted(found, key=lambda category: (category.supercategory, category.name))
        )

    def __len__(self) -> int:
        """Return the number of donors."""
        return len(self.donors)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.folder,)

    @classmethod
    def open(cls, folder: str | Path) -> TransplantBank:
        """Open a bank.

        Raises:
            ReadError: The bank does not exist or is damaged.
        """
        return cls(Path(folder).absolute())

    @classmethod
    def build(
        cls,
        folder: str | Path,
        studies: Paths,
        *,
        labels: str | Path,
        outlines: str | Path | None = None,
        model: str | Path,
        hosts: Paths = (),
        split: str | Path | None = None,
        modality: str | None = None,
        allow_burned_in: bool = False,
        workers: int | None = None,
    ) -> TransplantBank:
        """Build a bank, which names no patient, and open it.

        Args:
            folder: Folder for the bank; it must be empty or not exist yet.
            studies: Files and folders with labelled slices; slices known to be free of findings are
                hosts.
            labels: Labels of the slices.
            outlines: Masks for the boxes of the labels, as in ``attach_labels``.
            model: Folder of a trained bundle.
            hosts: Files and folders with scans that are known to be free of findings.
            split: JSON file that lists held-out patients, none of whom may be in the bank.
            modality: Modality of files that do not specify one.
            allow_burned_in: Use images whose headers say that text is burned into their pixels.
            workers: Number of processes that read files.

        Raises:
            UsageProblem: An argument is invalid, or nothing can be transplanted.
            ReadError: A path does not exist, or the model is damaged.
            LabelError: The labels cannot be used.
            WriteError: The file system refuses to write.
        """
        folder = Path(folder).absolute()
        problems = build_bank(
            folder,
            studies,
            SliceModel(model),
            labels=Path(labels),
            outlines=None if outlines is None else Path(outlines),
            hosts=hosts,
            split=None if split is None else Path(split),
            modality=modality,
            allow_burned_in=allow_burned_in,
            workers=workers,
        )
        return cls(folder, problems)

    def scene(self, place: int) -> Scene:
        """Return a slice in the form that renders take."""
        one = self.slices[place]
        own = slice(one.start, one.stop)
        values = np.asarray(self.values[own]).reshape(one.shape)
        padding = np.asarray(self.padding[own]).reshape(one.shape)
        pixels = Pixels(values, values, padding if padding.any() else None)
        native = Slice.in_memory(
            pixels,
            key=one.key,
            group=one.group,
            modality="CT" if one.absolute else None,
            geometry=one.geometry,
            labels=one.labels,
        )
        return Scene(native, pixels, Canvas.fit(one.shape, one.geometry, self.size), one.intensity)

    def draw(self, seed: int, strength: float, balance: str = "patients") -> Transplant | None:
        """Transplant one of the lesions into one of its hosts; return None if no attempt fits.

        Args:
            seed: Random seed; the same seed gives the same transplant.
            strength: Strength of the lesion's variation.
            balance: Draw a donor patient first and then one of the patient's slices
                (``patients``), or any of the slices (``slices``).
        """
        random = generator(seed, "donor")
        donors = _one_of(self._donors_of, random) if balance == "patients" else self.donors
        donor = _one_of(donors, random)
        finding, hosts = _one_of(list(donor.hosts.items()), random)
        lesion = Lesion.on(self.scene(donor.place), finding)
        if isinstance(lesion, Refused):
            return None

        @cache
        def ground(host: int) -> Ground:
            return Ground.of(self.scene(host))

        made = transplant_to_one(
            lesion,
            random.permutation(hosts).tolist(),
            ground,
            lambda number: generator(seed, "host", number),
            strength,
        )
        if isinstance(made, Refused):
            return None
        host, rendered = made
        slices = self.slices
        return Transplant(slices[donor.place], slices[host], ground(host).scene, rendered)


def _one_of(items: Sequence[T], random: np.random.Generator) -> T:
    return items[int(random.integers(len(items)))]
