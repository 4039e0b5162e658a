"""Choice of the render: given by the user, or suggested by the labels and hosts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from medvae.augmentation._settings import Settings
from medvae.augmentation._sources import Located, Sources
from medvae.augmentation._whole_lesions import whole_series
from medvae.errors import UsageProblem
from medvae.render import RENDERS, Render, make_render

__all__ = ["Recipe"]

_TRANSPLANT = "transplant"
_LESION = "lesion"
_STRENGTH_OF_LESIONS, _STRENGTH_OF_LATENTS = 1.0, 0.5


@dataclass(frozen=True, eq=False)
class Recipe:
    """Operations applied to each slice.

    Attributes:
        spec: Chain of renders, such as ``transplant+warp``.
        said: The chain, and the reason where it was chosen automatically.
        transplants: Whether lesions are first inserted into hosts.
        hosts: Slices that are known to be free of findings; with ``per`` study, those of series
            that are free as a whole.
        render: Render guided by the latents; None where lesions are only transplanted.
        strength: Strength of the draws.
    """

    spec: str
    said: str
    transplants: bool
    hosts: tuple[Located, ...]
    render: Render | None
    strength: float

    @classmethod
    def of(cls, settings: Settings, sources: Sources) -> Recipe:
        """Return the recipe for the settings and sources.

        Raises:
            UsageProblem: If the render is unknown, or does not fit the sources.
        """
        free = tuple(
            item
            for item in sources.sources
            if item.native.labels is not None and not item.native.labels
        )
        hosts, free_is = (*free, *sources.hosts), "slice"
        if settings.per == "study":
            hosts, free_is = tuple(chain.from_iterable(whole_series(hosts))), "series"
        spec, why = settings.render, ""
        if spec == "auto":
            spec, why = _suggested(sources, hosts, free_is)
        first, _, rest = spec.partition("+")
        transplants = first == _TRANSPLANT
        if not transplants and sources.hosts:
            raise UsageProblem(f"render {spec}: only transplant has a use for --hosts")
        try:
            led = rest if transplants else spec
            render = None if spec == _TRANSPLANT else make_render(led)
        except UsageProblem as error:
            names = ", ".join(("auto", _TRANSPLANT, *RENDERS))
            raise UsageProblem(
                f"render {settings.render!r}: cannot be; give {names}, or several as in "
                "transplant+warp"
            ) from error
        strength = settings.strength
        if strength is None:
            strength = _STRENGTH_OF_LESIONS if transplants else _STRENGTH_OF_LATENTS
        said = f"{spec} ({why})" if why else spec
        return cls(spec, said, transplants, hosts, render, strength)


def _suggested(sources: Sources, hosts: Sequence[Located], free_is: str) -> tuple[str, str]:
    """Return a render and the reason for choosing it; a host is a slice or a series."""
    if sources.hosts:
        return _TRANSPLANT, "because hosts are given"
    lesions = {
        item.native.group
        for item in sources.sources
        for finding in item.native.labels or ()
        if finding.category.supercategory == _LESION
    }
    if not lesions:
        return "warp", "because no category is of the supercategory lesion"
    if all(lesions == {item.native.group} for item in hosts):
        return "warp", f"because no other patient has a {free_is} known to be free of lesions"
    return _TRANSPLANT, "because the findings are lesions"
