"""Choice of a training batch that fits in the available memory."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Collection

import torch
from monai.bundle import ConfigParser
from torch import Tensor

from medvae.machine import available_memory
from medvae.networks import SliceVAE, without_weights
from medvae.notices import notice

_SMALLEST = 4
"""Fewest slices in a batch; with fewer, the statistics of a batch norm mean little."""

_MARGIN = 0.9
"""Share of the free memory that a step may use, as the slices are held in memory as well."""

_COPIES = 4
"""Number of tensors per parameter: its value, its gradient and the two moments of Adam."""

# Measured in single precision on a CPU as the growth of ru_maxrss over two steps (MiB), followed by
# the estimate: the default network at 224x224 with 4 slices 1016 and 1001, with 8 slices 1599 and
# 1630; the variant "spatial" at 128x128 with 8 slices 546 and 584; the variant "residual" at 64x64
# with 8 slices 216 and 232. In bfloat16 it is less.
_BEYOND_SAVED = 1.1
"""Ratio of the memory per slice to that of the tensors that autograd saves for it."""

_WORKSPACE = 2**26
"""Bytes that convolutions use as workspace."""


def fit_batch(parser: ConfigParser, device: torch.device, chosen: Collection[str]) -> None:
    """Halve the batch of a config until a step fits in memory, and accumulate gradients instead.

    Nothing is changed if the memory of a step cannot be estimated, or the user has chosen the batch
    by one of the keys ``chosen``.
    """
    if "accumulation" not in parser or (memory := _step_memory(parser)) is None:
        return
    fixed, per_slice = memory
    batch, free = int(parser["batch_size"]), _free(device)
    needed = fixed + batch * per_slice
    if needed <= free:
        return
    fits = batch
    while fixed + fits * per_slice > free and fits % 2 == 0 and fits > _SMALLEST:
        fits //= 2
    times = batch // fits
    problem = (
        f"training in batches of {batch} slices takes about {_gigabytes(needed)}, "
        f"but {_gigabytes(free)} of memory are free"
    )
    if {"batch_size", "accumulation"} & set(chosen) or times == 1:
        notice(f"{problem}: it may be killed; choose a smaller batch_size or image_size")
        return
    parser["batch_size"] = fits
    parser["accumulation"] = times * int(parser["accumulation"])
    more = "" if fixed + fits * per_slice <= free else ", which may still be too much"
    notice(
        f"{problem}: gradients of {times} batches of {fits} are added up for each step{more}; "
        f"batch norms see {fits} slices at a time"
    )


def _step_memory(parser: ConfigParser) -> tuple[int, int] | None:
    config = ConfigParser(copy.deepcopy(parser.get()))
    if "network_def::encoder::pretrained" in config:
        config["network_def::encoder::pretrained"] = False
    try:
        return step_memory(lambda: config.get_parsed_content("network_def"))
    # Errors in the network are reported when it is created for training.
    except Exception:
        return None


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return int(_MARGIN * torch.cuda.mem_get_info(device)[0])
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return int(_MARGIN * available_memory() / processes)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def step_memory(make: Callable[[], SliceVAE]) -> tuple[int, int]:
    """Count the memory for a training step in single precision, including the optimizer.

    Args:
        make: Function that returns the network; called where networks get no weights.

    Returns:
        Bytes independent of the batch size, and bytes for each slice of the batch.
    """
    with without_weights():
        model = make().train()
        one, two = (_saved(model, size) for size in (2, 4))
    weights = sum(weight.nbytes for weight in model.parameters())
    return _COPIES * weights + _WORKSPACE, round(_BEYOND_SAVED * (two - one) / 2)


def _saved(model: SliceVAE, batch: int) -> int:
    """Return the bytes that autograd saves in a forward pass, counting each storage once."""
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        found[storage._cdata] = storage.nbytes()
        return tensor

    side = model.image_size
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        kept = model.reconstruct(torch.zeros(batch, 1, side, side))  # keeps the storages alive
    del kept
    return sum(found.values())
