"""Handlers of a trainer's events: seeds, checks of each step, and checkpoints."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer
from torch import Tensor, nn

from medvae.atomic import write_bytes
from medvae.errors import ReadError, TrainingError, UsageProblem
from medvae.networks import Reconstruction, SliceVAE
from medvae.training._history import History, TrainerHandler
from medvae.training._slices import SliceDataset


class TrainingView(nn.Module):
    """A view of a network whose ``forward`` returns the posterior along with the image.

    It shares the weights of the network. A data-parallel wrapper requires that the step runs
    through ``forward``, and the ``forward`` of the network itself returns one tensor.
    """

    def __init__(self, network: SliceVAE) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Reconstruction:
        return self.network.reconstruct(x)


@dataclass(eq=False)
class AutocastInferer(Inferer):
    """Inferer that calls the network in bfloat16, which needs no loss scaling, on any device.

    An image that it returns keeps the metadata of the input.

    Args:
        enabled: Whether to use bfloat16; otherwise the network is called in single precision.
    """

    enabled: bool = True

    def __call__(
        self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        # Transforms track metadata; the layers run faster on plain tensors.
        plain = inputs.as_subclass(Tensor).contiguous(memory_format=torch.channels_last)
        with torch.autocast(plain.device.type, dtype=torch.bfloat16, enabled=self.enabled):
            result = network(plain, *args, **kwargs)
        if isinstance(inputs, MetaTensor) and isinstance(result, Tensor):
            return MetaTensor(result).copy_meta_from(inputs)
        return result


@dataclass(eq=False)
class EpochSeed(TrainerHandler):
    """Handler that seeds each epoch, in the same way whether or not training was interrupted.

    Args:
        seed: Random seed of the training.
        dataset: Dataset whose random draws change with each epoch.
        sampler: Sampler that orders the items, a ``DistributedSampler``.
        rank: Rank of this process, so that processes draw different noise.
    """

    event = Events.EPOCH_STARTED

    seed: int
    dataset: SliceDataset
    sampler: torch.utils.data.DistributedSampler[Any]
    rank: int = 0

    def __call__(self, engine: Engine) -> None:
        epoch = engine.state.epoch
        self.dataset.epoch = epoch
        self.sampler.set_epoch(epoch)
        torch.manual_seed(hash((self.seed, epoch, self.rank)) % 2**63)


class NanGuard(TrainerHandler):
    """Handler that stops training if the loss is not finite, before it spoils the checkpoints."""

    event = Events.ITERATION_COMPLETED

    def __call__(self, engine: Engine) -> None:
        output: Any = engine.state.output
        loss = output["loss"].item()
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} in epoch {engine.state.epoch}; choose a lower "
                "learning_rate (the last checkpoint was written before that)"
            )


class GradientClip(TrainerHandler):
    """Handler that clips gradients, so that one unusual batch does little harm.

    Args:
        parameters: Parameters of the network.
        norm: Maximum norm of the gradients.
    """

    event = IterationEvents.BACKWARD_COMPLETED

    def __init__(self, parameters: Iterable[nn.Parameter], norm: float) -> None:
        self.parameters = list(parameters)
        self.norm = norm

    def __call__(self, engine: Engine) -> None:
        nn.utils.clip_grad_norm_(self.parameters, self.norm)


@dataclass(eq=False)
class SharedBuffers(TrainerHandler):
    """Handler that copies the buffers of the first process to all others before each validation.

    Parameters stay equal without it. The statistics of batch norms do not: each process updates
    its own with its last batch, and the network that is validated must be the one that is saved.
    Attach it before the validation.

    Args:
        network: Network whose buffers are shared.
    """

    network: nn.Module

    def __call__(self, engine: Engine) -> None:
        if torch.distributed.is_initialized():
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, src=0)


class ListedOutput(TrainerHandler):
    """Handler that wraps the output of a step in a list of one item for the handlers after it.

    MONAI's own handlers, such as those for tracking, expect a batch as a list of its items. The
    batch is not split into them here, because that takes time. Attach it after all handlers of this
    package.
    """

    event = Events.ITERATION_COMPLETED

    def __call__(self, engine: Engine) -> None:
        state: Any = engine.state
        state.output = [state.output]


@dataclass(eq=False)
class Checkpoints:
    """Handler that writes ``last.pt`` after each epoch, and ``best.pt`` if that is the best so far.

    A checkpoint replaces the previous one only after it is written completely: a full disk or a
    kill leaves the old one.

    Args:
        folder: Folder to which checkpoints are written.
        parts: Objects with ``state_dict`` and ``load_state_dict``, by name, such as the network.
        history: History that decides which epoch is the best.
        metric: Name of the metric in the history; higher is better.
        resume: Whether to load the last checkpoint if there is one.
        rank: Rank of this process; only rank 0 writes.
    """

    folder: str | Path
    parts: Mapping[str, Any]
    history: History
    metric: str = "validation_psnr"
    resume: bool = False
    rank: int = 0

    def attach(self, engine: Engine) -> None:
        """Register with the trainer, after everything else that changes state in an epoch."""
        engine.add_event_handler(Events.STARTED, self._load)
        if self.rank == 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    def _load(self, engine: Engine) -> None:
        path = Path(self.folder, "last.pt")
        if not self.resume or not path.is_file():
            return
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            for name, part in {**self.parts, "history": self.history}.items():
                part.load_state_dict(saved[name])
        except UsageProblem:
            raise  # by the parts, about what was passed to this run
        except (OSError, RuntimeError, LookupError, ValueError) as error:
            raise ReadError(
                f"{path}: cannot be loaded: {' '.join(str(error).split())[:200]}; start a new run"
            ) from error
        engine.state.epoch = saved["epoch"]
        engine.state.iteration = saved["iteration"]

    def _save(self, engine: Engine) -> None:
        parts = {**self.parts, "history": self.history}
        state = {name: part.state_dict() for name, part in parts.items()}
        state |= {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_bytes(Path(self.folder, "last.pt"), buffer.getvalue())
        values = [epoch.get(self.metric, -math.inf) for epoch in self.history.epochs]
        if values[-1] == max(values):
            write_bytes(Path(self.folder, "best.pt"), buffer.getvalue())
