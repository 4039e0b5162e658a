"""Choice of a training batch that fits in the available memory."""

from __future__ import annotations

import copy
import os
from collections.abc import Collection

import torch
from monai.bundle import ConfigParser

from medvae.machine import available_memory
from medvae.networks import SliceVAE, StepMemory, step_memory
from medvae.notices import notice

__all__ = ["fit_batch"]

_SMALLEST = 4
"""Fewest slices in a batch; with fewer, the statistics of a batch norm mean little."""

_MARGIN = 0.9
"""Share of the free memory that a step may use, as the slices are held in memory as well."""


def fit_batch(parser: ConfigParser, device: torch.device, chosen: Collection[str]) -> None:
    """Halve the batch of a config until a step fits in memory, and accumulate gradients instead.

    Nothing is changed if the memory of a step cannot be estimated.

    Args:
        parser: Parser of the config, whose ``batch_size`` and ``accumulation`` are changed.
        device: Device on which the training will run.
        chosen: Keys of the config that the user has set; a batch that the user chose is kept.
    """
    if "accumulation" not in parser or (step := _step_memory(parser)) is None:
        return
    batch, free = int(parser["batch_size"]), _free(device)
    if step.of_batch(batch) <= free:
        return
    fits = batch
    while step.of_batch(fits) > free and fits % 2 == 0 and fits > _SMALLEST:
        fits //= 2
    times = batch // fits
    said = (
        f"training in batches of {batch} slices takes about {_gigabytes(step.of_batch(batch))}, "
        f"but {_gigabytes(free)} of memory are free"
    )
    if {"batch_size", "accumulation"} & set(chosen) or times == 1:
        notice(f"{said}: it may be killed; choose a smaller batch_size or image_size")
        return
    parser["batch_size"] = fits
    parser["accumulation"] = times * int(parser["accumulation"])
    more = "" if step.of_batch(fits) <= free else ", which may still be too much"
    notice(
        f"{said}: gradients of {times} batches of {fits} are added up for each step{more}; "
        f"batch norms see {fits} slices at a time"
    )


def _step_memory(parser: ConfigParser) -> StepMemory | None:
    config = ConfigParser(copy.deepcopy(parser.get()))
    if "network_def::encoder::pretrained" in config:
        config["network_def::encoder::pretrained"] = False

    def make() -> SliceVAE:
        network = config.get_parsed_content("network_def")
        if not isinstance(network, SliceVAE):
            raise TypeError(f"{type(network).__name__} is not a SliceVAE")
        return network

    try:
        return step_memory(make)
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
