"""A slice on its way from its source to the gates."""

from __future__ import annotations

from dataclasses import dataclass

from medvae.augmentation._donors import Planted
from medvae.augmentation._plan import Draw
from medvae.augmentation._scenes import Seen
from medvae.augmentation._sources import Located
from medvae.render import Rendered

__all__ = ["Staged"]


@dataclass(frozen=True, eq=False)
class Staged:
    """A slice on its way.

    Attributes:
        draw: which one.
        base: the slice that it is on.
        seen: that slice.
        rendered: what it has become so far.
        planted: the lesion that was set into it.
        partner: the slice that its latent was drawn towards.
    """

    draw: Draw
    base: Located
    seen: Seen
    rendered: Rendered
    planted: Planted | None = None
    partner: str | None = None

    @property
    def donor(self) -> str | None:
        """The patient whose lesion it has, where that is another."""
        return None if self.planted is None else self.draw.source.native.group

    @property
    def series_key(self) -> str:
        """The name of the series it belongs to: with a lesion, one of its own."""
        return self.draw.series_key if self.planted is None else self.draw.key
