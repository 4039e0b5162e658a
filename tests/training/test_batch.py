"""A batch that does not fit in memory is made smaller, and its gradients are added up."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from medvae.training import prepare_run, train

BYTES_A_PIXEL = 3300
"""What a step of the variant ``residual`` takes, roughly."""


@pytest.fixture(scope="module")
def too_large() -> int:
    """Return the side of pictures of which about 12 fit in the memory that is free here."""
    text = Path("/proc/meminfo").read_text()
    free = 1024 * int(re.findall(r"MemAvailable: *(\d+)", text)[0])
    return int((free / 12 / BYTES_A_PIXEL) ** 0.5) // 64 * 64


def prepared(out: Path, **settings: Any) -> dict[str, Any]:
    """Return the config of a training that is ready to begin."""
    said = {"device": "cpu", **settings}
    prepare_run("slice_vae", out, variant="residual", settings=said)
    config: dict[str, Any] = json.loads((out / "configs" / "train.json").read_text())
    return config


def test_a_smaller_batch_is_chosen_and_told(
    tmp_path: Path, too_large: int, caplog: pytest.LogCaptureFixture
) -> None:
    config = prepared(tmp_path / "run", image_size=too_large)
    size, times = config["batch_size"], config["accumulation"]
    assert (size * times, size in (4, 8, 16)) == (32, True)
    (line,) = caplog.messages
    assert re.match(r"training in batches of 32 slices takes about \d+\.\d GB, but \d", line)
    assert f"gradients of {times} batches of {size} are added up for each step" in line
    assert line.endswith(f"batch norms see {size} slices at a time")


def test_a_batch_that_was_asked_for_stays(
    tmp_path: Path, too_large: int, caplog: pytest.LogCaptureFixture
) -> None:
    config = prepared(tmp_path / "run", image_size=too_large, batch_size=32)
    assert (config["batch_size"], config["accumulation"]) == (32, 1)
    (line,) = caplog.messages
    assert line.endswith("it may be killed; choose a smaller batch_size or image_size")


def test_what_fits_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = prepared(tmp_path / "run", image_size=64)
    assert (config["batch_size"], config["accumulation"]) == (32, 1)
    assert not caplog.messages


@pytest.mark.filterwarnings("ignore")
def test_the_optimizer_steps_once_for_all_parts_of_a_batch(pictures: Path, tmp_path: Path) -> None:
    settings = {"epochs": 2, "batch_size": 4, "accumulation": 3, "amp": False, "device": "cpu"}
    train([pictures], "slice_vae", tmp_path / "run", variant="plain", settings=settings)
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    steps = {int(state["step"]) for state in last["optimizer"]["state"].values()}
    assert (last["iteration"], steps) == (12, {4})  # six batches of four in an epoch
