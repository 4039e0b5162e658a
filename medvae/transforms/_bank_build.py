"""Building of a transplant bank: its lesions, and the slices that may host them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medvae.errors import DecodeError, ReadError, UsageProblem
from medvae.folders import output
from medvae.labels import attach_labels
from medvae.latent import Latents, nearest
from medvae.readers import open_studies, read_pixels, refuse_burned_in
from medvae.records import Labels, Pixels, Slice, Study
from medvae.render import MOST_HOSTS, Lesion, Refused, Scene, is_absolute
from medvae.split import read_held_out
from medvae.transforms._bank_files import Donor, Stored, write_index, write_pixels
from medvae.transforms._model import SliceModel

__all__ = ["build_bank"]


def build_bank(
    folder: Path,
    studies: Iterable[str | Path],
    model: SliceModel,
    *,
    labels: Path,
    outlines: Path | None,
    hosts: Iterable[str | Path],
    split: Path | None,
    modality: str | None,
    allow_burned_in: bool,
    workers: int | None,
) -> tuple[str, ...]:
    """Write a bank, and return messages about what could not be used, one line each.

    Only donors and their nearest hosts are stored. The arguments are those of
    ``TransplantBank.build``.
    """
    studies, hosts = list(studies), list(hosts)
    with output(folder, [*studies, labels, outlines, *hosts]):
        found = _Found(allow_burned_in)
        found.labelled(studies, labels, outlines, modality, workers)
        found.free(hosts, modality, workers)
        found.check(model, split)
        places = _places(found, model, workers)
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
        write_index(folder, model.run.network.image_size, stored, renumbered)
        return tuple(found.problems)


class _Found:
    """Slices with findings, slices known to have none, and the problems of others."""

    def __init__(self, allow_burned_in: bool) -> None:
        self._allow_burned_in = allow_burned_in
        self.donors: list[Slice] = []
        self.hosts: list[Slice] = []
        self.problems: list[str] = []

    def labelled(
        self,
        paths: Iterable[str | Path],
        labels: Path,
        outlines: Path | None,
        modality: str | None,
        workers: int | None,
    ) -> None:
        """Add labelled slices."""
        attached = attach_labels(self._scan(paths, modality, workers), labels, outlines)
        self.problems.extend(f"{p.where}: {p.what}" for p in attached.problems)
        slices = [native for study in attached.studies for native in study.slices]
        if all(native.labels is None for native in slices):
            raise UsageProblem(f"{labels}: none of its labels belongs to a slice that was given")
        if outlines is not None and attached.outlines is not None:
            attached.outlines.check(outlines)
        self.donors.extend(native for native in slices if native.labels)
        self.hosts.extend(s for s in slices if s.labels is not None and not s.labels)
        if not self.donors:
            raise UsageProblem(f"{labels}: none of the slices has a finding: there is no donor")

    def free(self, paths: Iterable[str | Path], modality: str | None, workers: int | None) -> None:
        """Add slices that are said to be free of findings."""
        paths = list(paths)
        if paths:
            studies = self._scan(paths, modality, workers)
            slices = [native for study in studies for native in study.slices]
            self.hosts.extend(replace(native, labels=Labels()) for native in slices)

    def check(self, model: SliceModel, split: Path | None) -> None:
        """Refuse slices that must not be combined in a bank or used with this model."""
        every = [*self.donors, *self.hosts]
        model.run.check_modalities(every)
        if len({is_absolute(native) for native in every}) > 1:
            raise UsageProblem(
                "donors and hosts must all be CT, or none of them: their units differ"
            )
        there = {native.group for native in every}
        if split is not None and (held_out := there & read_held_out(split)):
            raise UsageProblem(
                f"{split}: holds out {len(held_out)} of the patients, such as {min(held_out)}: "
                "leave their studies out"
            )

    def _scan(
        self, paths: Iterable[str | Path], modality: str | None, workers: int | None
    ) -> Sequence[Study]:
        scan = open_studies(paths, modality=modality, workers=workers)
        if not self._allow_burned_in:
            scan = refuse_burned_in(scan)
        self.problems.extend(f"{f.path}: {f.reason}" for f in scan.files if f.outcome == "refused")
        if not scan.studies:
            raise ReadError("none of the files given can be read: see what 'medvae inspect' says")
        return scan.studies


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
                "there is no slice of another patient that is known to be free of findings: give "
                "some as hosts"
            )
        return donors


def _places(found: _Found, model: SliceModel, workers: int | None) -> _Places:
    """Decode and encode all slices."""
    # A slice that is said to be free of findings but has one must not be a host.
    by_key: Mapping[str, Slice] = {n.key: n for n in (*found.hosts, *found.donors)}
    natives, stored, latents, lesions = [], [], [], []
    for native, pixels in read_pixels([by_key[key] for key in sorted(by_key)], workers):
        if isinstance(pixels, DecodeError):
            found.problems.append(str(pixels))
            continue
        scene = model.scene(native, pixels)
        natives.append(native)
        stored.append(Stored.of(native, scene))
        latents.append(model.latents(native, scene))
        lesions.append(_lesions(scene))
    if not natives:
        raise ReadError("none of the slices can be decoded: see what 'medvae inspect' says")
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
