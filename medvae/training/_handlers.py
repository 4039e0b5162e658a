"""Handlers of training events: seeds, history, stopping, progress."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import nn
from tqdm import tqdm

from medvae.errors import TrainingError
from medvae.models import COLLAPSED
from medvae.networks import CalibratedLoss, PublishedLoss, SliceVAE, active_units
from medvae.notices import notice
from medvae.training._slices import CanvasSlices, SliceDataset

__all__ = [
    "CollapseWatch",
    "EarlyStop",
    "EpochSeed",
    "GradientClip",
    "History",
    "ListedOutput",
    "NanGuard",
    "Progress",
    "SharedBuffers",
]


_WATCHED = 64
"""Approximate number of held-out slices whose latents are monitored."""

_AT_ONCE = 16

_FIRST_STEPS = 50
"""Number of first steps, in which too little is learned for latents to differ."""

_NATS = 1.0
"""KL divergence of a slice below which its latent carries almost no information."""


class EpochSeed:
    """Handler that seeds each epoch, in the same way whether or not training was interrupted.

    Args:
        seed: Random seed of the training.
        dataset: Dataset whose random draws change with each epoch.
        sampler: Sampler that orders the items, a ``DistributedSampler``.
        rank: Rank of this process, so that processes draw different noise.
    """

    def __init__(
        self,
        seed: int,
        dataset: SliceDataset,
        sampler: torch.utils.data.DistributedSampler[Any],
        rank: int = 0,
    ) -> None:
        self.seed = seed
        self.dataset = dataset
        self.sampler = sampler
        self.rank = rank

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        epoch = engine.state.epoch
        self.dataset.epoch = epoch
        self.sampler.set_epoch(epoch)
        torch.manual_seed(hash((self.seed, epoch, self.rank)) % 2**63)


class NanGuard:
    """Handler that stops training if the loss is not finite, before it spoils the checkpoints."""

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        output: Any = engine.state.output
        loss = output["loss"].item()
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} in epoch {engine.state.epoch}: lower the learning rate; "
                "the last checkpoint is from before that"
            )


class GradientClip:
    """Handler that clips long gradients, so that one unusual batch does little harm.

    Args:
        parameters: Parameters of the network.
        norm: Maximum norm of the gradients.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], norm: float) -> None:
        self.parameters = list(parameters)
        self.norm = norm

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        nn.utils.clip_grad_norm_(self.parameters, self.norm)


class SharedBuffers:
    """Handler that copies the buffers of the first process to all others before each validation.

    Parameters stay equal without it. The statistics of batch norms do not: each process updates
    its own with its last batch, and the network that is validated must be the one that is saved.

    Args:
        network: Network whose buffers are shared.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Register with the trainer, before the validation."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if torch.distributed.is_initialized():
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, src=0)


class History:
    """Figures of each epoch: the loss and its terms, the speed, and the validation metrics.

    Processes that train together share one history, with mean figures and their total speed.

    Args:
        loss: Loss whose terms are recorded every ``every`` steps.
        validation: Engine whose metrics are added.

    Attributes:
        epochs: Mapping of names to numbers for each epoch.
    """

    def __init__(
        self, loss: PublishedLoss | CalibratedLoss, validation: Engine, every: int = 10
    ) -> None:
        self.loss = loss
        self.validation = validation
        self.every = every
        self.epochs: list[dict[str, float]] = []
        self._terms: list[Mapping[str, float]] = []
        self._losses: list[float] = []
        self._slices = 0
        self._start = self._seconds = 0.0

    def attach(self, engine: Engine) -> None:
        """Register with the trainer, after the validation."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end)

    def state_dict(self) -> dict[str, Any]:
        """Return the history, to be saved in a checkpoint."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the history from a checkpoint."""
        self.epochs = list(state["epochs"])

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

    def _end(self, engine: Engine) -> None:
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


class CollapseWatch:
    """Handler that warns once if the latents of held-out slices no longer distinguish the slices.

    It adds ``validation_active_units`` to the history. A count of zero is no bad sign at first:
    nothing has been learned in the first steps, and running means of batch norms lag behind. A
    warning therefore requires zero for two epochs, and almost no KL divergence in training either.

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

    def attach(self, engine: Engine) -> None:
        """Register with the trainer, after the history."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        last = self.history.epochs[-1]
        last["validation_active_units"] = self._active_units()
        recent = self.history.epochs[-2:]
        if self._said or engine.state.iteration < _FIRST_STEPS or len(recent) < 2:
            return
        if all(not epoch.get("validation_active_units", 1) for epoch in recent) and all(
            epoch["kl"] < _NATS for epoch in recent
        ):
            self._said = True
            notice(
                f"after epoch {last['epoch']:.0f} the latent space is collapsing "
                f"(KL {last['kl']:.2f} nats a slice): {COLLAPSED}"
            )

    def _active_units(self) -> float:
        device = next(self.network.parameters()).device
        was_training = self.network.training
        self.network.eval()
        with torch.inference_mode():
            means = [
                self.network.encode(batch.float().to(device))[0].float()
                for batch in self.images.split(_AT_ONCE)
            ]
        self.network.train(was_training)
        return float(active_units(torch.cat(means)))


class EarlyStop:
    """Handler that ends a training that has not improved for some epochs.

    Args:
        history: History of the training.
        metric: Name of the metric in the history; higher is better.
        patience: Number of epochs without improvement after which training ends.
    """

    def __init__(self, history: History, metric: str, patience: int) -> None:
        self.history = history
        self.metric = metric
        self.patience = patience

    def attach(self, engine: Engine) -> None:
        """Register with the trainer, after the history."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        values = [epoch.get(self.metric, -math.inf) for epoch in self.history.epochs]
        if len(values) - 1 - values.index(max(values)) >= self.patience:
            engine.terminate()


class ListedOutput:
    """Handler that wraps the output of a step in a list of one item for the handlers after it.

    MONAI's own handlers, such as those for tracking, expect a batch as a list of its items. The
    batch is not split into them here, because that takes time.
    """

    def attach(self, engine: Engine) -> None:
        """Register with the trainer, after all handlers of this package."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        state: Any = engine.state
        state.output = [state.output]


class Progress:
    """Handler that shows a progress bar of the training on standard error if that is a terminal.

    Args:
        history: History whose latest figures are shown.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self._bar: tqdm[Any] | None = None

    def attach(self, engine: Engine) -> None:
        """Register with the trainer, after the history."""
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._tell)
        engine.add_event_handler(Events.COMPLETED | Events.EXCEPTION_RAISED, self._end)

    def _begin(self, engine: Engine) -> None:
        total = (engine.state.max_epochs or 0) * (engine.state.epoch_length or 0)
        self._bar = tqdm(
            total=total,
            initial=engine.state.iteration,
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
            unit="step",
            dynamic_ncols=True,
        )

    def _step(self, engine: Engine) -> None:
        if self._bar is not None:
            self._bar.set_description(
                f"epoch {engine.state.epoch}/{engine.state.max_epochs}", refresh=False
            )
            self._bar.update()

    def _tell(self, engine: Engine) -> None:
        if self._bar is not None and self.history.epochs:
            last = self.history.epochs[-1]
            self._bar.set_postfix(
                {
                    "loss": f"{last['loss']:.1f}",
                    "PSNR": f"{last.get('validation_psnr', math.nan):.2f}",
                    "images/s": f"{last['images_per_second']:.1f}",
                }
            )

    def _end(self, engine: Engine, *error: BaseException) -> None:
        if self._bar is not None:
            self._bar.close()
        if error:
            raise error[0]
