"""How slices are rendered: as the user says, or as the labels and hosts suggest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medvae.augmentation._settings import Settings
from medvae.augmentation._sources import Located, Sources
from medvae.errors import UsageProblem
from medvae.render import RENDERS, Render, make_render

__all__ = ["Recipe"]

_TRANSPLANT = "transplant"
_LESION = "lesion"
_STRENGTH_OF_LESIONS, _STRENGTH_OF_LATENTS = 1.0, 0.5


@dataclass(frozen=True, eq=False)
class Recipe:
    """What is done to each slice.

    Attributes:
        spec: the chain of renders, such as ``transplant+warp``.
        said: that, and why where it was chosen.
        transplants: lesions are set into hosts first.
        hosts: the slices that are known to be free of findings.
        render: is led by the latents; None where lesions are only transplanted.
        strength: of the draws.
    """

    spec: str
    said: str
    transplants: bool
    hosts: tuple[Located, ...]
    render: Render | None
    strength: float

    @classmethod
    def of(cls, settings: Settings, sources: Sources) -> Recipe:
        """Decide.

        Raises:
            UsageProblem: there is no such render, or not what it needs.
        """
        free = tuple(
            item
            for item in sources.sources
            if item.native.labels is not None and not item.native.labels
        )
        hosts = (*free, *sources.hosts)
        spec, why = settings.render, ""
        if spec == "auto":
            spec, why = _suggested(sources, hosts)
        first, _, rest = spec.partition("+")
        transplants = first == _TRANSPLANT
        chain = rest if transplants else spec
        if settings.per == "study" and (transplants or settings.sampler == "interpolate"):
            what = _TRANSPLANT if transplants else "interpolate"
            raise UsageProblem(f"{what} draws each slice alone: leave --per study out")
        if not transplants and sources.hosts:
            raise UsageProblem(f"render {spec}: only transplant has a use for --hosts")
        try:
            render = None if spec == _TRANSPLANT else make_render(chain)
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


def _suggested(sources: Sources, hosts: Sequence[Located]) -> tuple[str, str]:
    """Choose a render, and say why."""
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
        return "warp", "because no other patient has a slice known to be free of lesions"
    return _TRANSPLANT, "because the findings are lesions"
