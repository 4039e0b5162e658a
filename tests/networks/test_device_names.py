"""Devices by their names, as far as this machine has them."""

from __future__ import annotations

import pytest
import torch

from medvae.errors import UsageProblem
from medvae.networks import device_named

MISSING = ["cuda:63", "mps:63", "xpu:63", "hpu", "meta", "opengl", "mkldnn", "abacus", "cpu:x", ""]


@pytest.mark.parametrize("name", MISSING)
def test_no_backend_that_is_missing_raises_an_error_of_its_own(name: str) -> None:
    with pytest.raises(UsageProblem, match="there is no such device on this machine; choose cpu"):
        device_named(name)


def test_what_is_there_is_found() -> None:
    assert device_named("cpu") == device_named(torch.device("cpu")) == torch.device("cpu")
    assert device_named(None).type == ("cuda" if torch.cuda.is_available() else "cpu")
