"""The arms of the comparison: what a detector's batches are made of, by a name."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from medvae.errors import UsageProblem
from medvae.latent import SAMPLERS
from medvae.render import RENDERS

from .detector import BATCH
from .hosts import HOSTS
from .random_field import RandomField

__all__ = ["ARMS", "Arm", "Synthetic", "parse_arm"]

ARMS = (
    "real",
    "classic",
    "negatives",
    "transplant",
    "transplant+negatives",
    "transplant-labelled",
    "transplant-random",
    "transplant-unvaried",
    "warp",
    "field",
    "residual",
    "decode",
)

RENDERS.setdefault(RandomField.name, RandomField)

_NUMBER = re.compile(r"(share|strength|draws)([0-9.]+)")
_HELP = (
    "an arm is real, classic, or ingredients with + between them: negatives, auto, transplant, "
    f"{', '.join(RENDERS)} (several renders as in transplant,warp), each with any of -share0.5 and "
    "-draws1200, and the synthetic ones of -strength1.6, -unvaried, -labelled, -balanced, "
    f"-ownvae, {', '.join(f'-{name}' for name in HOSTS)} and the samplers "
    f"{', '.join(f'-{name}' for name in SAMPLERS)}"
)


@dataclass(frozen=True)
class Synthetic:
    """Slices that the library makes.

    Attributes:
        render: as `medvae augment` takes it.
        sampler: likewise.
        strength: likewise; None for the render's own.
        hosts: where lesions go: to hosts that `medvae augment` chooses among the lesion-free slices
            of all patients, or of the labelled ones (``labelled``), or that a way of `HOSTS` does.
        own_vae: the autoencoder has seen the labelled patients only.
        balance: what transplants are spread evenly over, as `medvae augment` takes it.
        draws: how many are drawn.
    """

    render: str
    draws: int
    sampler: str = "gaussian"
    strength: float | None = None
    hosts: str = "all"
    own_vae: bool = False
    balance: Literal["patients", "slices"] = "slices"

    @property
    def transplants(self) -> bool:
        """Whether hosts are of any use."""
        return self.render.partition("+")[0] in ("auto", "transplant")


@dataclass(frozen=True)
class Ingredient:
    """A part of each batch.

    Attributes:
        synthetic: what it is made of; None for plain slices of others that are free of findings.
        count: slices in a batch.
    """

    synthetic: Synthetic | None
    count: int


@dataclass(frozen=True)
class Arm:
    """What a detector learns from.

    Attributes:
        name: as it was given.
        classic: whether all slices are varied in the classic way.
        ingredients: what there is beside the real labelled slices.
    """

    name: str
    classic: bool
    ingredients: tuple[Ingredient, ...] = ()

    @property
    def real(self) -> int:
        """Real labelled slices in a batch."""
        return BATCH - sum(ingredient.count for ingredient in self.ingredients)


def parse_arm(name: str, share: float, draws: int) -> Arm:
    """Read the name of an arm.

    Args:
        name: such as ``transplant-share0.5+negatives``.
        share: of a batch that an ingredient takes which says nothing else.
        draws: of a synthetic ingredient that says nothing else.

    Raises:
        UsageProblem: there is no such arm.
    """
    if name in ("real", "classic"):
        return Arm(name, classic=name == "classic")
    arm = Arm(name, True, tuple(_ingredient(part, share, draws) for part in name.split("+")))
    if arm.real < 1 or min(part.count for part in arm.ingredients) < 1:
        raise UsageProblem(
            f"arm {name!r}: leaves nothing in a batch of {BATCH} for one of its parts"
        )
    return arm


def _ingredient(text: str, share: float, draws: int) -> Ingredient:
    first, *options = text.split("-")
    renders = first.split(",")
    if first != "negatives" and not {*renders} <= {"auto", "transplant", *RENDERS}:
        raise UsageProblem(f"arm {text!r}: there is none such; {_HELP}")
    made = Synthetic("+".join(renders), draws)
    for option in options:
        number = _NUMBER.fullmatch(option)
        if number and number[1] == "share":
            share = float(number[2])
        elif first == "negatives":
            raise UsageProblem(f"arm {text!r}: negatives have no {option!r}; {_HELP}")
        else:
            made = _with(made, option, text)
    return Ingredient(None if first == "negatives" else made, round(BATCH * share))


def _with(made: Synthetic, option: str, arm: str) -> Synthetic:
    """Apply what a name says after its render."""
    number = _NUMBER.fullmatch(option)
    if number and number[1] == "strength":
        return replace(made, strength=float(number[2]))
    if number and number[1] == "draws":
        return replace(made, draws=int(number[2]))
    if option in SAMPLERS:
        return replace(made, sampler=option)
    match option:
        case "unvaried":
            return replace(made, strength=0.0)
        case "ownvae":
            return replace(made, own_vae=True)
        case "balanced" if made.transplants:
            return replace(made, balance="patients")
        case "labelled" if made.transplants:
            return replace(made, hosts=option)
        case _ if option in HOSTS and made.render == "transplant":
            return replace(made, hosts=option)
    raise UsageProblem(f"arm {arm!r}: there is no {option!r}; {_HELP}")
