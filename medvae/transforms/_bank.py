"""A bank of lesions and of slices that they may go to, for transplants on the fly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from medvae.randomness import generator
from medvae.records import Category
from medvae.render import Ground, Lesion, Refused, Rendered, Scene, transplant_to_one
from medvae.transforms._bank_build import build_bank
from medvae.transforms._bank_files import Contents, Donor, Stored, read_bank
from medvae.transforms._model import SliceModel

__all__ = ["Transplant", "TransplantBank"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Transplant:
    """A lesion of the bank in one of its hosts.

    Attributes:
        donor, host: the slices.
        scene: the host as it was.
        rendered: the host with the lesion.
    """

    donor: Stored
    host: Stored
    scene: Scene
    rendered: Rendered


class TransplantBank:
    """Slices with lesions, and for each the free slices nearest to it in the latent space.

    Everything that a model is needed for is done when the bank is built. Its pixels are mapped
    into memory: the workers of a loader share them, and each opens the bank for itself.

    Attributes:
        folder: where it is.
        categories: of its lesions, in the order in which ``write_datalist`` numbers them from 0.
        masked: all its lesions have masks.
        problems: what could not be used when it was built just now, a line each.
    """

    def __init__(self, folder: Path, contents: Contents, problems: Sequence[str] = ()) -> None:
        self.folder = folder
        self.problems = tuple(problems)
        self._contents = contents
        lesions = [
            contents.slices[donor.place].labels.findings[index]
            for donor in contents.donors
            for index in donor.findings
        ]
        found = {lesion.category for lesion in lesions}
        self.categories: tuple[Category, ...] = tuple(
            sorted(found, key=lambda category: (category.supercategory, category.name))
        )
        by_patient = defaultdict(list)
        for donor in contents.donors:
            by_patient[contents.slices[donor.place].group].append(donor)
        self._donors_of = list(by_patient.values())
        self.masked = all(lesion.mask is not None for lesion in lesions)

    def __len__(self) -> int:
        """How many donors there are."""
        return len(self._contents.donors)

    def __reduce__(self) -> tuple[Any, ...]:
        return TransplantBank.open, (self.folder,)

    @classmethod
    def open(cls, folder: str | Path) -> TransplantBank:
        """Open a bank.

        Raises:
            ReadError: there is none, or it is damaged.
        """
        folder = Path(folder).absolute()
        return cls(folder, read_bank(folder))

    @classmethod
    def build(
        cls,
        folder: str | Path,
        studies: Iterable[str | Path],
        *,
        labels: str | Path,
        outlines: str | Path | None = None,
        model: str | Path,
        hosts: Iterable[str | Path] = (),
        split: str | Path | None = None,
        modality: str | None = None,
        allow_burned_in: bool = False,
        workers: int | None = None,
    ) -> TransplantBank:
        """Build a bank, and open it. It names no patient.

        Args:
            folder: empty, or not there yet.
            studies: files and folders with labelled slices; those known to be empty are hosts.
            labels: of the slices.
            outlines: Masks for the boxes of the labels, as in ``attach_labels``.
            model: folder of a trained bundle.
            hosts: files and folders with scans that are known to be free of findings.
            split: a JSON file that says which patients are held out: none of them may be in it.
            modality: taken for files that do not say.
            allow_burned_in: Use images whose headers say that text is burned into their pixels.
            workers: how many processes read.

        Raises:
            UsageProblem: an argument cannot be right, or nothing can be transplanted.
            ReadError: a path is not there, or the model is damaged.
            LabelError: the labels cannot be used.
            WriteError: the file system refuses.
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
        return cls(folder, read_bank(folder), problems)

    def draw(self, seed: int, strength: float, balance: str = "patients") -> Transplant | None:
        """Set one of the lesions into one of its hosts; None where no try fitted.

        Args:
            seed: the same one gives the same.
            strength: of the lesion's variation.
            balance: Draw a donor patient first and then one of the patient's slices
                (``patients``), or any of the slices (``slices``).
        """
        contents, random = self._contents, generator(seed, "donor")
        donors: Sequence[Donor] = contents.donors
        if balance == "patients":
            donors = _one_of(self._donors_of, random)
        donor = _one_of(donors, random)
        lesion = Lesion.on(contents.scene(donor.place), _one_of(donor.findings, random))
        if isinstance(lesion, Refused):
            return None

        @cache
        def ground(host: int) -> Ground:
            return Ground.of(contents.scene(host))

        made = transplant_to_one(
            lesion,
            donor.hosts,
            ground,
            lambda number: generator(seed, "host", number),
            strength,
        )
        if isinstance(made, Refused):
            return None
        host, rendered = made
        slices = contents.slices
        return Transplant(slices[donor.place], slices[host], ground(host).scene, rendered)


def _one_of(items: Sequence[T], random: np.random.Generator) -> T:
    return items[int(random.integers(len(items)))]
