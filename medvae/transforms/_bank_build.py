"""Building of a transplant bank: its lesions, and the slices that may host them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medvae.errors import DecodeError, ReadError, UsageProblem
from medvae.files import Paths, as_paths
from medvae.folders import output
from medvae.randomness import generator
from medvae.readers import read_pixels
from medvae.records import Pixels, Slice
from medvae.render import (
    MOST_HOSTS,
    Hosts,
    Lesion,
    Refused,
    Scene,
    Thumbnail,
    Vicinity,
    is_absolute,
    thumbnail,
)
from medvae.sources import Sources, find_sources
from medvae.transforms._bank_files import Donor, Stored, write_index, write_pixels
from medvae.transforms._model import SliceModel


def build_bank(
    folder: Path,
    studies: Paths,
    model: SliceModel,
    *,
    labels: Path,
    outlines: Path | None,
    hosts: Paths,
    split: Path | None,
    modality: str | None,
    allow_burned_in: bool,
    workers: int | None,
) -> tuple[str, ...]:
    """Write a bank, and return messages about what could not be used, one line each.

    Only donors and the hosts of their lesions are stored. The arguments are those of
    ``TransplantBank.build``.
    """
    studies, hosts = as_paths(studies), as_paths(hosts)
    with output(folder, [*studies, labels, outlines, *hosts]):
        sources = find_sources(
            studies,
            model.trained,
            labels=labels,
            outlines=outlines,
            hosts=hosts,
            split=split,
            modality=modality,
            allow_burned_in=allow_burned_in,
            workers=workers,
        )
        _check(sources, labels)
        problems = list(sources.problems)
        seen = _seen(sources, model, workers, problems)
        donors = seen.donors()
        used = sorted(set().union(*(donor.needed for donor in donors)))
        stored, start = [], 0
        for place in used:
            stored.append(replace(seen.stored[place], start=start))
            start = stored[-1].stop
        natives = [seen.natives[place] for place in used]
        write_pixels(folder, _decoded(natives, workers), start)
        new = {place: number for number, place in enumerate(used)}
        renumbered = [
            Donor(
                new[donor.place],
                {index: tuple(new[host] for host in own) for index, own in donor.hosts.items()},
            )
            for donor in donors
        ]
        write_index(folder, model.trained.network.image_size, stored, renumbered)
        return tuple(problems)


def _check(sources: Sources, labels: Path) -> None:
    """Refuse slices that must not be combined in a bank."""
    if not any(native.labels for native in sources.slices):
        raise UsageProblem("none of the slices has a finding: there is no donor", where=labels)
    if len({is_absolute(native) for native in (*sources.slices, *sources.hosts)}) > 1:
        raise UsageProblem(
            "donors and hosts must all be CT, or none of them, as their units differ"
        )


@dataclass(frozen=True, eq=False)
class _Seen:
    """The labelled slices that can be decoded, in the order of their keys.

    Attributes:
        natives: The slices.
        stored: Description of each slice in the bank.
        thumbnails: Thumbnail of each slice.
        lesions: For each slice, the lesions that can be transplanted, by their indices among its
            findings.
    """

    natives: Sequence[Slice]
    stored: Sequence[Stored]
    thumbnails: Sequence[Thumbnail]
    lesions: Sequence[Mapping[int, Vicinity]]

    def donors(self) -> list[Donor]:
        """Return the donors, each with the hosts of its lesions.

        Raises:
            UsageProblem: Nothing can be transplanted.
        """
        if not any(self.lesions):
            raise UsageProblem("none of the findings can be transplanted: all are too small or cut")
        free = [place for place, one in enumerate(self.stored) if not one.labels]
        choice = Hosts([self.natives[i] for i in free], np.array(self.thumbnails), free)
        donors = []
        for place, lesions in enumerate(self.lesions):
            if lesions and choice.have_other(self.natives[place]):
                random = generator(0, "bank", self.stored[place].key)
                hosts = {
                    index: tuple(
                        free[row] for row in random.permutation(choice.similar(lesion))[:MOST_HOSTS]
                    )
                    for index, lesion in lesions.items()
                }
                donors.append(Donor(place, hosts))
        if not donors:
            raise UsageProblem(
                "there is no slice of another patient that is known to be free of findings; give "
                "some as hosts",
                parameter="hosts",
            )
        return donors


def _seen(sources: Sources, model: SliceModel, workers: int | None, problems: list[str]) -> _Seen:
    """Decode all labelled slices, and add to ``problems`` those that cannot be."""
    labelled = [native for native in sources.slices if native.labels is not None]
    by_key = {native.key: native for native in (*sources.hosts, *labelled)}
    natives, stored, thumbnails, lesions = [], [], [], []
    for native, pixels in read_pixels([by_key[key] for key in sorted(by_key)], workers):
        if isinstance(pixels, DecodeError):
            problems.append(str(pixels))
            continue
        scene = model.scene(native, pixels)
        natives.append(native)
        stored.append(Stored.of(native, scene))
        thumbnails.append(thumbnail(scene.picture()))
        lesions.append(_lesions(scene, thumbnails[-1]))
    if not natives:
        raise ReadError("none of the slices can be decoded; see what 'medvae inspect' says")
    return _Seen(natives, stored, thumbnails, lesions)


def _lesions(scene: Scene, small: Thumbnail) -> dict[int, Vicinity]:
    """Return the findings of a slice that can be transplanted, by their indices."""
    return {
        index: Vicinity.of(scene, index, small)
        for index in range(len(scene.labels))
        if not isinstance(Lesion.on(scene, index), Refused)
    }


def _decoded(natives: Sequence[Slice], workers: int | None) -> Iterator[Pixels]:
    """Yield the pixels of slices that could be decoded before."""
    for _, pixels in read_pixels(natives, workers):
        if isinstance(pixels, DecodeError):
            raise pixels
        yield pixels
