"""Building of a transplant bank: its lesions, and the slices that may host them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medvae.errors import DecodeError, ReadError, UsageProblem
from medvae.files import Paths, as_paths
from medvae.folders import output
from medvae.latent import Latents, nearest
from medvae.readers import read_pixels
from medvae.records import Pixels, Slice
from medvae.render import MOST_HOSTS, Lesion, Refused, Scene, is_absolute
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

    Only donors and their nearest hosts are stored. The arguments are those of
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
        places = _places(sources, model, workers, problems)
        donors = places.donors()
        used = sorted(
            {donor.place for donor in donors} | {h for donor in donors for h in donor.hosts}
        )
        stored, start = [], 0
        for place in used:
            stored.append(replace(places.stored[place], start=start))
            start = stored[-1].stop
        natives = [places.natives[place] for place in used]
        write_pixels(folder, _decoded(natives, workers), start)
        new = {place: number for number, place in enumerate(used)}
        renumbered = [
            Donor(new[donor.place], donor.findings, tuple(new[host] for host in donor.hosts))
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
class _Places:
    """Positions of the slices in the latent space, in the order of their keys.

    Attributes:
        natives: The slices.
        stored: Description of each slice in the bank.
        latents: Latent of each slice.
        lesions: Indices of the findings on each slice that can be transplanted.
    """

    natives: Sequence[Slice]
    stored: Sequence[Stored]
    latents: Latents
    lesions: Sequence[tuple[int, ...]]

    def donors(self) -> list[Donor]:
        """Return the donors, each with its hosts.

        Raises:
            UsageProblem: Nothing can be transplanted.
        """
        givers = [place for place, lesions in enumerate(self.lesions) if lesions]
        free = [place for place, one in enumerate(self.stored) if not one.labels]
        if not givers:
            raise UsageProblem("none of the findings can be transplanted: all are too small or cut")
        found = nearest(self.latents.take(givers), self.latents.take(free), MOST_HOSTS)
        donors = [
            Donor(place, self.lesions[place], tuple(free[row] for row in rows))
            for place, rows in zip(givers, found, strict=True)
            if len(rows)
        ]
        if not donors:
            raise UsageProblem(
                "there is no slice of another patient that is known to be free of findings; give "
                "some as hosts",
                parameter="hosts",
            )
        return donors


def _places(
    sources: Sources, model: SliceModel, workers: int | None, problems: list[str]
) -> _Places:
    """Decode and encode all labelled slices, and add to ``problems`` those that cannot be."""
    labelled = [native for native in sources.slices if native.labels is not None]
    by_key = {native.key: native for native in (*sources.hosts, *labelled)}
    natives, stored, latents, lesions = [], [], [], []
    for native, pixels in read_pixels([by_key[key] for key in sorted(by_key)], workers):
        if isinstance(pixels, DecodeError):
            problems.append(str(pixels))
            continue
        scene = model.scene(native, pixels)
        natives.append(native)
        stored.append(Stored.of(native, scene))
        latents.append(model.latents(native, scene))
        lesions.append(_lesions(scene))
    if not natives:
        raise ReadError("none of the slices can be decoded; see what 'medvae inspect' says")
    return _Places(natives, stored, Latents.concat(latents), lesions)


def _lesions(scene: Scene) -> tuple[int, ...]:
    """Return the indices of the findings of a slice that can be transplanted."""
    lesions = (Lesion.on(scene, index) for index in range(len(scene.labels)))
    return tuple(i for i, lesion in enumerate(lesions) if not isinstance(lesion, Refused))


def _decoded(natives: Sequence[Slice], workers: int | None) -> Iterator[Pixels]:
    """Yield the pixels of slices that could be decoded before."""
    for _, pixels in read_pixels(natives, workers):
        if isinstance(pixels, DecodeError):
            raise pixels
        yield pixels
