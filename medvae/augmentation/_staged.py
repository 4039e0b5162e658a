"""Drafts of synthetic slices, and the interface of what inserts lesions."""

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
    """Origin of a lesion that was inserted into a slice.

    Attributes:
        donor: Decoded donor slice; for a whole lesion, the nearest of its slices.
        finding: Index of the finding on the donor slice; of several, the largest.
    """

    donor: Seen
    finding: int


@dataclass(frozen=True, eq=False)
class Staged:
    """Draft of a synthetic slice.

    Attributes:
        draw: Draw that the draft belongs to.
        base: Source or host slice that is modified.
        seen: Decoded form of ``base``.
        rendered: Result of the renders so far.
        planted: Origin of the inserted lesion, if any; also None beyond the ends of a whole lesion.
        partner: Key of the slice that the latent was drawn towards.
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
        """The name of the series of the slice; with a transplanted lesion, a separate series."""
        transplanted = self.base is not self.draw.source
        return self.draw.key if transplanted else self.draw.series_key

    @property
    def untouched(self) -> bool:
        """Whether this is an unchanged slice of a host, beyond the ends of a whole lesion."""
        beyond = self.draw.lesion is not None and self.planted is None
        return beyond and self.rendered.values is self.seen.scene.values


class Planter(Protocol):
    """Inserter of lesions of donors into hosts."""

    def plant(
        self,
        draw: Draw,
        seen: Mapping[Located, Seen],
        randoms: Callable[[int], np.random.Generator],
        strength: float,
    ) -> list[Staged] | Refused:
        """Insert the lesion of a draw into a host, or return the reason why that is impossible.

        Args:
            draw: Draw that determines the lesion.
            seen: Decoded slices that the draw needs.
            randoms: Called with the number of a try; returns its random generator.
            strength: Strength of the variation of the lesion.

        Returns:
            The resulting drafts, in order, or the refusal.
        """
