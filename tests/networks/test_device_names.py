"""Devices by their names, as far as this machine has them, and what they compute in."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from medvae.errors import UsageProblem
from medvae.networks import device_named, fastest_dtype

MISSING = ["cuda:63", "mps:63", "xpu:63", "hpu", "meta", "opengl", "mkldnn", "abacus", "cpu:x", ""]


@pytest.mark.parametrize("name", MISSING)
def test_no_backend_that_is_missing_raises_an_error_of_its_own(name: str) -> None:
    with pytest.raises(UsageProblem, match="there is no such device on this machine; choose cpu"):
        device_named(name)


def test_what_is_there_is_found() -> None:
    assert device_named("cpu") == device_named(torch.device("cpu")) == torch.device("cpu")
    assert device_named(None).type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists(),
    reason="reads the flags that Linux lists for x86 processors",
)
def test_emulated_bfloat16_does_not_count() -> None:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    native = bool(flags & {"avx512_bf16", "amx_bf16"})
    assert fastest_dtype(torch.device("cpu")) is (torch.bfloat16 if native else torch.float32)
