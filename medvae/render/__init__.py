"""Renders: methods that make new native slices with matching labels."""

from __future__ import annotations

from medvae.render._chain import RENDERS, make_render
from medvae.render._contract import Render, Rendered, Scene, is_absolute
from medvae.render._ground import Ground
from medvae.render._hosts import (
    MOST_HOSTS,
    THUMBNAIL_SIDE,
    Hosts,
    Thumbnail,
    Vicinity,
    most_similar,
    thumbnail,
)
from medvae.render._lesion import Lesion, Refused, trace_lesions
from medvae.render._transplant import (
    BALANCES,
    transplant,
    transplant_to_one,
    transplant_volume,
)

__all__ = [
    "BALANCES",
    "MOST_HOSTS",
    "RENDERS",
    "THUMBNAIL_SIDE",
    "Ground",
    "Hosts",
    "Lesion",
    "Refused",
    "Render",
    "Rendered",
    "Scene",
    "Thumbnail",
    "Vicinity",
    "is_absolute",
    "make_render",
    "most_similar",
    "thumbnail",
    "trace_lesions",
    "transplant",
    "transplant_to_one",
    "transplant_volume",
]
