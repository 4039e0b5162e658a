"""The memory of a training step is known before it is taken."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, re, torch
from pathlib import Path
from medvae.networks import *
from medvae.training import step_memory

def make():
    encoder = EfficientNet("b0")
    return SliceVAE(GrayToColor(), encoder, VectorLatent(64), ConvDecoder((64, 32, 16, 8, 8)), 128)

def peak():
    return 1024 * int(re.findall(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[0])

fixed, per_slice = step_memory(make)
before, model = peak(), make()
loss, optimizer = CalibratedLoss(), torch.optim.Adam(model.parameters())
pictures = torch.rand(BATCH, 1, 128, 128)
for _ in range(2):
    optimizer.zero_grad()
    loss(model.reconstruct(pictures), pictures).backward()
    optimizer.step()
print(json.dumps([fixed + BATCH * per_slice, peak() - before]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("batch", [4, 12])
def test_it_is_what_the_process_takes(batch: int) -> None:
    script = SCRIPT.replace("BATCH", str(batch))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    estimated, taken = json.loads(done.stdout)
    assert estimated == pytest.approx(taken, rel=0.3)
