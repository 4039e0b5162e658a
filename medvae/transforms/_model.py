"""A trained bundle that encodes and decodes one slice at a time, opened on first use."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch

from medvae.errors import UsageProblem
from medvae.latent import Latents, LatentStatistics
from medvae.models import TrainedModel, find_bundle, open_model
from medvae.networks import Codec
from medvae.records import Pixels, Slice
from medvae.render import Scene


class SliceModel:
    """A model that is opened on first use.

    Each worker of a data loader therefore opens its own; only the path of the folder is sent to it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = find_bundle(folder).absolute()

    def __reduce__(self) -> tuple[type[SliceModel], tuple[Path]]:
        return type(self), (self.folder,)

    @cached_property
    def trained(self) -> TrainedModel:
        """The trained model."""
        return open_model(self.folder)

    @cached_property
    def codec(self) -> Codec:
        """The network, which encodes and decodes one slice at a time."""
        return self.trained.codec("cpu", torch.float32, at_once=1)

    @cached_property
    def statistics(self) -> LatentStatistics:
        """Statistics of the latents of the training slices."""
        return self.trained.statistics()

    def modality(self, given: str | None) -> str | None:
        """Return the modality of slices whose file is unknown, if the user has not given it.

        It determines how values are mapped to those of the model, so it must be unambiguous.
        """
        known = self.trained.modalities
        if given is None and self.trained.intensity is None and len(known) > 1:
            raise UsageProblem(
                f"{self.folder}: the model was trained on {', '.join(known)}: say by modality "
                "which of them the pictures are"
            )
        return known[0] if given is None and len(known) == 1 else given

    def scene(self, native: Slice, pixels: Pixels) -> Scene:
        """Return a slice, of a modality that the model was trained on, as renders take it."""
        self.trained.check_modalities([native])
        return self.trained.scene(native, pixels)

    def latents(self, native: Slice, scene: Scene) -> Latents:
        """Encode a slice."""
        mu, logvar = self.codec.encode([scene.picture()])
        kinds = {finding.category.name for finding in scene.labels}
        return Latents.of([native.key], [native.group], [kinds], mu, logvar)
