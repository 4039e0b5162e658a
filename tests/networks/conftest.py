"""Each tiny network as a fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache

import pytest
import torch

from medvae.networks import SliceVAE
from tiny_networks import BUILDERS, plain_unit_variance, settle, slices_for


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny networks gain nothing from threads, and lose much to them on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=BUILDERS)
def build_variant(request: pytest.FixtureRequest) -> Callable[[], SliceVAE]:
    """Each variant in turn, as the function that builds it."""
    torch.manual_seed(0)
    return BUILDERS[request.param]


@pytest.fixture
def variant(build_variant: Callable[[], SliceVAE]) -> SliceVAE:
    """Each variant in turn, in training mode."""
    return deepcopy(_drawn(build_variant))


@pytest.fixture
def trained_variant(build_variant: Callable[[], SliceVAE]) -> SliceVAE:
    """Each variant in turn, in eval mode, its batch norms as they could be after training."""
    return deepcopy(_settled(build_variant))


@cache
def _drawn(build: Callable[[], SliceVAE]) -> SliceVAE:
    return build()


@cache
def _settled(build: Callable[[], SliceVAE]) -> SliceVAE:
    model = deepcopy(_drawn(build))
    return settle(model, slices_for(model, 8))


@pytest.fixture
def plain() -> SliceVAE:
    """The smallest network."""
    torch.manual_seed(0)
    return plain_unit_variance()
