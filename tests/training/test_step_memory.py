"""The memory of a training step is known before it is taken."""

from __future__ import annotations

import re
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch

from medvae.networks import (
    CalibratedLoss,
    ConvDecoder,
    EfficientNet,
    GrayToColor,
    SliceVAE,
    VectorLatent,
)
from medvae.training import step_memory


def make() -> SliceVAE:
    encoder = EfficientNet("b0")
    return SliceVAE(GrayToColor(), encoder, VectorLatent(64), ConvDecoder((64, 32, 16, 8, 8)), 128)


def peak() -> int:
    """Return the most memory that this process has taken so far."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.findall(r"VmHWM:\s*(\d+)", status)[0])


def take_steps(batch: int, results: Connection) -> None:
    """Send what two steps are said to take, and what they took."""
    torch.set_num_threads(1)
    fixed, per_slice = step_memory(make)
    before, model = peak(), make()
    loss, optimizer = CalibratedLoss(), torch.optim.Adam(model.parameters())
    pictures = torch.rand(batch, 1, 128, 128)
    for _ in range(2):
        optimizer.zero_grad()
        loss(model.reconstruct(pictures), pictures).backward()
        optimizer.step()
    results.send((fixed + batch * per_slice, peak() - before))


@pytest.mark.slow
@pytest.mark.parametrize("batch", [4, 12])
def test_it_is_what_the_process_takes(batch: int, fork: ForkServerContext) -> None:
    results, sender = fork.Pipe(duplex=False)
    process = fork.Process(target=take_steps, args=(batch, sender))
    process.start()
    process.join()
    estimated, taken = results.recv()
    assert estimated == pytest.approx(taken, rel=0.3)
