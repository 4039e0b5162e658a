"""Settings of an augmentation, and the choice of the render."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from medvae.errors import UsageProblem, check_choice
from medvae.formats import WRITERS
from medvae.labels import written_formats
from medvae.latent import SAMPLERS
from medvae.records import Slice
from medvae.render import BALANCES, Render, make_render
from medvae.sources import Sources

_TRANSPLANT = "transplant"
_LESION = "lesion"
_STRENGTH_OF_LESIONS, _STRENGTH_OF_LATENTS = 1.0, 0.5


@dataclass(frozen=True)
class Settings:
    """Settings that determine, together with the model and the studies, what is written.

    The attributes are arguments of ``augment``.

    Raises:
        UsageProblem: If a setting is invalid.
    """

    copies: int
    ratio: float | None
    sampler: str
    strength: float | None
    render: str
    per: str
    balance: str
    only_positive: bool
    formats: tuple[str, ...]
    label_formats: tuple[str, ...]
    merge: bool
    seed: int

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise UsageProblem(f"must be 1 or more, but is {self.copies}", parameter="copies")
        if self.ratio is not None and not (self.ratio > 0 and math.isfinite(self.ratio)):
            raise UsageProblem(f"must be above 0, but is {self.ratio}", parameter="ratio")
        if self.strength is not None and not (self.strength >= 0 and math.isfinite(self.strength)):
            raise UsageProblem(f"must be 0 or more, but is {self.strength}", parameter="strength")
        if self.per not in ("slice", "study"):
            raise UsageProblem(f"must be slice or study, but is {self.per!r}", parameter="per")
        if self.per == "study" and self.ratio is not None:
            raise UsageProblem(
                "is for single slices; for whole series set copies instead", parameter="ratio"
            )
        check_choice([self.balance], BALANCES, "value", "balance")
        check_choice([self.sampler.partition(":")[0]], SAMPLERS, "sampler", "sampler")
        check_choice(self.formats, WRITERS, "format", "formats")
        written = written_formats(self.label_formats)
        if self.merge and any(WRITERS[name].synthetic for name in self.formats):
            raise UsageProblem(
                "real slices are not written as DICOM, whose headers would call them synthetic; "
                "choose png or nifti as the format",
                parameter="merge",
            )
        if self.per == "study" and WRITERS[self.formats[0]].volumes:
            for one in written:
                if one.file_per_image:
                    raise UsageProblem(
                        f"{one.option} has one file for each picture, but a whole series is one "
                        "NIfTI file; put png first in the image formats",
                        parameter="label_formats",
                    )

    def record(self) -> dict[str, Any]:
        """Return the settings as plain JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, eq=False)
class Recipe:
    """Operations applied to each slice.

    Attributes:
        spec: Chain of renders, such as ``transplant+warp``.
        description: The chain, and the reason where it was chosen automatically.
        transplants: Whether lesions are first inserted into hosts.
        hosts: Slices that are known to be free of findings; with ``per`` study, those of series
            that are free as a whole.
        render: Render guided by the latents; None where lesions are only transplanted.
        strength: Strength of the draws.
    """

    spec: str
    description: str
    transplants: bool
    hosts: tuple[Slice, ...]
    render: Render | None
    strength: float

    @classmethod
    def of(cls, settings: Settings, sources: Sources) -> Recipe:
        """Return the recipe for the settings and sources.

        Raises:
            UsageProblem: If the render is unknown, or does not fit the sources.
        """
        hosts, unit = sources.free, "slice"
        if settings.per == "study":
            hosts, unit = tuple(chain.from_iterable(sources.whole_series(hosts))), "series"
        spec, why = settings.render, ""
        if spec == "auto":
            spec, why = _suggested(sources, hosts, unit)
        first, _, rest = spec.partition("+")
        transplants = first == _TRANSPLANT
        if not transplants and sources.hosts:
            raise UsageProblem(
                f"are of use to the render transplant only, not to {spec}", parameter="hosts"
            )
        render = None
        if spec != _TRANSPLANT:
            render = make_render(rest if transplants else spec, ("auto", _TRANSPLANT))
        strength = settings.strength
        if strength is None:
            strength = _STRENGTH_OF_LESIONS if transplants else _STRENGTH_OF_LATENTS
        description = f"{spec} ({why})" if why else spec
        return cls(spec, description, transplants, hosts, render, strength)


def _suggested(sources: Sources, hosts: Sequence[Slice], unit: str) -> tuple[str, str]:
    """Return a render and the reason for choosing it; a host is a slice or a series."""
    if sources.hosts:
        return _TRANSPLANT, "because hosts are given"
    lesions = {
        native.group
        for native in sources.slices
        for finding in native.labels or ()
        if finding.category.supercategory == _LESION
    }
    if not lesions:
        return "warp", "because no category is of the supercategory lesion"
    if all(lesions == {native.group} for native in hosts):
        return "warp", f"because no other patient has a {unit} known to be free of lesions"
    return _TRANSPLANT, "because the findings are lesions"
