"""The arms of the comparison: what the batches of a detector consist of, by name."""

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

RENDERS[RandomField.name] = RandomField

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
    """Synthetic slices made by the library.

    Attributes:
        render: Render, as in `medvae augment`.
        sampler: Sampler, as in `medvae augment`.
        strength: Strength, as in `medvae augment`; None for the default of the render.
        hosts: How hosts are chosen: by `medvae augment` among the lesion-free slices of all
            patients (``all``) or of the labelled ones (``labelled``), or by an entry of `HOSTS`.
        own_vae: Whether the autoencoder is trained on the labelled patients only.
        balance: What transplants are spread evenly over, as in `medvae augment`.
        draws: Number of draws.
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
        """Whether the render can use hosts."""
        return self.render.partition("+")[0] in ("auto", "transplant")


@dataclass(frozen=True)
class Ingredient:
    """Part of each batch.

    Attributes:
        synthetic: Synthetic slices; None for real lesion-free slices of other patients.
        count: Number of slices in a batch.
    """

    synthetic: Synthetic | None
    count: int


@dataclass(frozen=True)
class Arm:
    """Composition of the batches that a detector is trained on.

    Attributes:
        name: Name, as given.
        classic: Whether classic augmentation is applied to all slices.
        ingredients: Parts of a batch other than the real labelled slices.
    """

    name: str
    classic: bool
    ingredients: tuple[Ingredient, ...] = ()

    @property
    def real(self) -> int:
        """Number of real labelled slices in a batch."""
        return BATCH - sum(ingredient.count for ingredient in self.ingredients)


def parse_arm(name: str, share: float, draws: int) -> Arm:
    """Parse the name of an arm.

    Args:
        name: Name, such as ``transplant-share0.5+negatives``.
        share: Default share of a batch for each ingredient.
        draws: Default number of draws for each synthetic ingredient.

    Raises:
        UsageProblem: There is no such arm.
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
    """Apply an option that follows the render in a name."""
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
