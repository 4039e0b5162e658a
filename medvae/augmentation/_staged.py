"""A slice on its way from its source to the gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from medvae.augmentation._plan import Draw
from medvae.augmentation._scenes import Seen
from medvae.augmentation._sources import Located
from medvae.records import pseudonym
from medvae.render import Refused, Rendered

__all__ = ["Planted", "Planter", "Staged"]


@dataclass(frozen=True, eq=False)
class Planted:
    """Where the lesion comes from that was set into a slice.

    Attributes:
        donor: the slice, decoded; of a whole lesion, the one that lies nearest.
        finding: which of its findings; of several, the largest.
    """

    donor: Seen
    finding: int


@dataclass(frozen=True, eq=False)
class Staged:
    """A slice on its way.

    Attributes:
        draw: which one.
        base: the slice that it is on.
        seen: that slice.
        rendered: what it has become so far.
        planted: the lesion that was set into it; None beyond the end of a whole lesion, too.
        partner: the slice that its latent was drawn towards.
    """

    draw: Draw
    base: Located
    seen: Seen
    rendered: Rendered
    planted: Planted | None = None
    partner: str | None = None

    @property
    def key(self) -> str:
        """The name of the synthetic slice."""
        if self.draw.lesion is None:
            return self.draw.key
        return pseudonym("draw", self.draw.key, self.base.native.key)

    @property
    def series_key(self) -> str:
        """The name of the series it belongs to: with a lesion, one of its own."""
        transplanted = self.base is not self.draw.source
        return self.draw.key if transplanted else self.draw.series_key

    @property
    def untouched(self) -> bool:
        """Whether it is a slice of a host as it was, beyond the end of a whole lesion."""
        beyond = self.draw.lesion is not None and self.planted is None
        return beyond and self.rendered.values is self.seen.scene.values


class Planter(Protocol):
    """Sets lesions of donors into hosts."""

    def plant(
        self,
        draw: Draw,
        seen: Mapping[Located, Seen],
        randoms: Callable[[int], np.random.Generator],
        strength: float,
    ) -> list[Staged] | Refused:
        """Set the lesion of a draw into a host, or say why there is no room.

        Args:
            draw: which lesion.
            seen: the slices that it takes, decoded.
            randoms: gives the generator of each try.
            strength: of the lesion's variation.

        Returns:
            The slices that come of it, in order.
        """
