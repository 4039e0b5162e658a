"""Figures of a training: its curves, and held-out slices with their reconstructions."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from PIL import Image

from medvae.atomic import write_bytes
from medvae.networks import SliceVAE
from medvae.training._handlers import History

__all__ = ["TrainingPictures"]

_SHOWN = 8

_SECONDS = 10.0
"""Minimum time between two drawings of the curves, which may take longer than an epoch."""

_PANELS = {
    "loss": ("loss",),
    "nats a slice": ("reconstruction", "kl"),
    "held-out PSNR, dB": ("validation_psnr",),
    "active latent units": ("active_units",),
}


class TrainingPictures:
    """Handler that writes ``curves.png`` regularly and ``reconstructions.png`` after some epochs.

    Args:
        folder: Folder to which the images are written.
        history: History of the training.
        network: Network whose reconstructions are shown.
        items: Held-out slices, each with ``image``, ``[1, H, W]``.
        every: Number of epochs from one set of reconstructions to the next.
    """

    def __init__(
        self,
        folder: str | Path,
        history: History,
        network: SliceVAE,
        items: Sequence[dict[str, Any]],
        every: int = 5,
    ) -> None:
        self.folder = Path(folder)
        self.history = history
        self.network = network
        self.items = items
        self.every = every
        self._drawn = time.monotonic()

    def attach(self, engine: Engine) -> None:
        """Register with the trainer, after the history."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, lambda _: self._draw_curves())

    def __call__(self, engine: Engine) -> None:
        last = engine.state.epoch == engine.state.max_epochs
        if not last and time.monotonic() - self._drawn > _SECONDS:
            self._draw_curves()
        if last or engine.state.epoch % self.every == 0:
            write_bytes(self.folder / "reconstructions.png", self._reconstructions())

    def _draw_curves(self) -> None:
        write_bytes(self.folder / "curves.png", _curves(self.history.epochs))
        self._drawn = time.monotonic()

    def _reconstructions(self) -> bytes:
        """Draw slices in the upper row and their reconstructions in the lower one."""
        count = min(_SHOWN, len(self.items))
        places = [(2 * i + 1) * len(self.items) // (2 * count) for i in range(count)]
        images = torch.stack([self.items[place]["image"].as_tensor() for place in places])
        device = next(self.network.parameters()).device
        was_training = self.network.training
        self.network.eval()
        with torch.inference_mode():
            restored = self.network(images.to(device))[:, :1].cpu()
        self.network.train(was_training)
        rows = [torch.cat(list(row[:, 0]), dim=1) for row in (images, restored)]
        grid = (torch.cat(rows).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        return _png(Image.fromarray(np.ascontiguousarray(grid)))


def _curves(epochs: Sequence[dict[str, float]]) -> bytes:
    figure = Figure(figsize=(10, 6), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(2, 2).flat, _PANELS.items(), strict=True):
        for name in names:
            known = [(epoch["epoch"], epoch[name]) for epoch in epochs if name in epoch]
            if known:
                axes.plot(*zip(*known, strict=True), marker=".", label=name.replace("_", " "))
        axes.set(title=title, xlabel="epoch")
        if len(names) > 1:
            axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
