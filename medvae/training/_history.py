"""The history of a training: its figures, curves and pictures, and a watch on its latents."""

from __future__ import annotations

import io
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from monai.networks.utils import eval_mode
from PIL import Image

from medvae.atomic import write_bytes
from medvae.models import COLLAPSED
from medvae.networks import SliceVAE, VAELoss, active_units
from medvae.notices import notice
from medvae.training._slices import CanvasSlices

_WATCHED = 64
"""Approximate number of held-out slices whose latents are monitored."""

_AT_ONCE = 16

_FIRST_STEPS = 50
"""Number of first steps, in which too little is learned for latents to differ."""

_NATS = 1.0
"""KL divergence of a slice below which its latent carries almost no information."""

_SHOWN = 8

_SECONDS = 10.0
"""Minimum time between two drawings of the curves, which may take longer than an epoch."""

_PANELS = {
    "loss": ("loss",),
    "nats a slice": ("reconstruction", "kl"),
    "held-out PSNR, dB": ("validation_psnr",),
    "active latent units": ("active_units",),
}


class TrainerHandler(ABC):
    """Handler that is called on one event of a trainer.

    Attributes:
        event: The event.
    """

    event: ClassVar[Any] = Events.EPOCH_COMPLETED

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(self.event, self)

    @abstractmethod
    def __call__(self, engine: Engine) -> None: ...


class History(TrainerHandler):
    """Figures of each epoch: the loss and its terms, the speed, and the validation metrics.

    Processes that train together share one history, with mean figures and their total speed. Attach
    it after the validation.

    Args:
        loss: Loss whose terms are recorded every ``every`` steps.
        validation: Engine whose metrics are added.

    Attributes:
        epochs: Mapping of names to numbers for each epoch.
    """

    def __init__(self, loss: VAELoss, validation: Engine, every: int = 10) -> None:
        self.loss = loss
        self.validation = validation
        self.every = every
        self.epochs: list[dict[str, float]] = []
        self._terms: list[Mapping[str, float]] = []
        self._losses: list[float] = []
        self._slices = 0
        self._start = self._seconds = 0.0

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        super().attach(engine)

    def state_dict(self) -> dict[str, Any]:
        """Return the history, to be saved in a checkpoint."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the history from a checkpoint."""
        self.epochs = list(state["epochs"])

    def latest(self) -> dict[str, str]:
        """Return the main figures of the last epoch as text, to be shown beside a progress bar."""
        if not self.epochs:
            return {}
        last = self.epochs[-1]
        return {
            "loss": f"{last['loss']:.1f}",
            "PSNR": f"{last.get('validation_psnr', math.nan):.2f}",
            "images/s": f"{last['images_per_second']:.1f}",
        }

    def _begin(self, engine: Engine) -> None:
        self._terms, self._losses, self._slices = [], [], 0
        self._start = time.perf_counter()

    def _step(self, engine: Engine) -> None:
        output: Any = engine.state.output
        self._losses.append(output["loss"].item())
        self._slices += len(output["image"])
        self._seconds = time.perf_counter() - self._start
        if engine.state.iteration % self.every == 0 or not self._terms:
            with torch.no_grad():
                terms = self.loss.terms(output["pred"], output["label"])
            self._terms.append({name: float(value) for name, value in terms._asdict().items()})

    def __call__(self, engine: Engine) -> None:
        figures = {
            name: sum(terms[name] for terms in self._terms) / len(self._terms)
            for name in ("reconstruction", "kl", "active_units")
        }
        figures["loss"] = sum(self._losses) / len(self._losses)
        figures["images_per_second"] = self._slices / self._seconds
        figures["epoch"] = engine.state.epoch
        validated = self.validation.state.metrics if self.validation.state else {}
        figures |= {f"validation_{name}": float(value) for name, value in validated.items()}
        figures = _of_all_processes(figures, engine)
        engine.state.metrics.update(figures)
        self.epochs.append(figures)


def _of_all_processes(figures: dict[str, float], engine: Engine) -> dict[str, float]:
    if not torch.distributed.is_initialized():
        return figures
    state: Any = engine.state  # MONAI's trainers add the device
    values = torch.tensor(list(figures.values()), dtype=torch.float64, device=state.device)
    torch.distributed.all_reduce(values)
    processes = torch.distributed.get_world_size()
    means = dict(zip(figures, (values / processes).tolist(), strict=True))
    return means | {"images_per_second": means["images_per_second"] * processes}


class CollapseWatch(TrainerHandler):
    """Handler that warns once if the latents of held-out slices no longer distinguish the slices.

    It adds ``validation_active_units`` to the history. A count of zero is no bad sign at first:
    nothing has been learned in the first steps, and running means of batch norms lag behind. A
    warning therefore requires zero for two epochs, and almost no KL divergence in training either.

    Attach it after the history.

    Args:
        history: History of the training.
        network: Network whose latents are monitored.
        slices: Held-out slices, of which a subset is used if there are many.
    """

    def __init__(self, history: History, network: SliceVAE, slices: CanvasSlices) -> None:
        self.history = history
        self.network = network
        step = -(-len(slices) // _WATCHED)
        self.images = slices.images[::step]
        self._said = False

    def __call__(self, engine: Engine) -> None:
        device = next(self.network.parameters()).device
        with eval_mode(self.network):
            means = [
                self.network.encode(batch.float().to(device))[0].float()
                for batch in self.images.split(_AT_ONCE)
            ]
        last = self.history.epochs[-1]
        last["validation_active_units"] = float(active_units(torch.cat(means)))
        recent = self.history.epochs[-2:]
        if self._said or engine.state.iteration < _FIRST_STEPS or len(recent) < 2:
            return
        if all(
            epoch.get("validation_active_units", 1) == 0 and epoch["kl"] < _NATS for epoch in recent
        ):
            self._said = True
            notice(
                f"after epoch {last['epoch']:.0f} the latent space is collapsing "
                f"(KL {last['kl']:.2f} nats a slice): {COLLAPSED}"
            )


@dataclass(eq=False)
class TrainingPictures(TrainerHandler):
    """Handler that writes ``curves.png`` regularly and ``reconstructions.png`` after some epochs.

    Attach it after the history.

    Args:
        folder: Folder to which the images are written.
        history: History of the training.
        network: Network whose reconstructions are shown.
        items: Held-out slices, each with ``image``, ``[1, H, W]``.
        every: Number of epochs from one set of reconstructions to the next.
    """

    folder: str | Path
    history: History
    network: SliceVAE
    items: Sequence[dict[str, Any]]
    every: int = 5
    _drawn: float = field(init=False, default_factory=time.monotonic)

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        super().attach(engine)
        engine.add_event_handler(Events.COMPLETED, lambda _: self._draw_curves())

    def __call__(self, engine: Engine) -> None:
        last = engine.state.epoch == engine.state.max_epochs
        if not last and time.monotonic() - self._drawn > _SECONDS:
            self._draw_curves()
        if last or engine.state.epoch % self.every == 0:
            write_bytes(Path(self.folder, "reconstructions.png"), self._reconstructions())

    def _draw_curves(self) -> None:
        write_bytes(Path(self.folder, "curves.png"), _curves(self.history.epochs))
        self._drawn = time.monotonic()

    def _reconstructions(self) -> bytes:
        """Draw slices in the upper row and their reconstructions in the lower one."""
        count = min(_SHOWN, len(self.items))
        places = [(2 * i + 1) * len(self.items) // (2 * count) for i in range(count)]
        images = torch.stack([self.items[place]["image"].as_tensor() for place in places])
        device = next(self.network.parameters()).device
        with eval_mode(self.network):
            restored = self.network(images.to(device))[:, :1].cpu()
        grid = torch.stack((images, restored))[:, :, 0].permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
        buffer = io.BytesIO()
        Image.fromarray((grid.clamp(0, 1) * 255).round().byte().numpy()).save(buffer, "PNG")
        return buffer.getvalue()


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
