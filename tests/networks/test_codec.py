"""Encoding and decoding in batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medvae.errors import UsageProblem
from medvae.networks import Codec, SliceVAE
from tiny_networks import BUILDERS, settle, slices_for


@pytest.fixture(scope="module", params=["plain-unit-variance", "residual"])
def network(request: pytest.FixtureRequest) -> SliceVAE:
    model = BUILDERS[request.param]()
    settle(model, slices_for(model, 4))
    return model.eval()


def test_encodes_and_decodes_as_the_network_does(network: SliceVAE) -> None:
    codec, images = Codec(network, "cpu", torch.float32), slices_for(network, 6)
    with torch.no_grad():
        mu, logvar = network.encode(images)
        pictures = network.decode(mu).mean(1, keepdim=True)
    found = codec.encode(images[:, 0].numpy())
    torch.testing.assert_close(found[0], mu.flatten(1), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found[1], logvar.flatten(1), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(codec.decode(mu.flatten(1)), pictures, atol=1e-3, rtol=1e-3)


def test_results_do_not_depend_on_the_other_slices(network: SliceVAE) -> None:
    codec, images = Codec(network, "cpu"), slices_for(network, 6)[:, 0].numpy()
    mu, logvar = codec.encode(images)
    alone = codec.encode([images[5]])
    assert torch.equal(alone[0], mu[5:])
    assert torch.equal(alone[1], logvar[5:])
    assert torch.equal(codec.decode(mu)[5:], codec.decode(mu[5:]))
    assert np.array_equal(codec.features(images)[5:], codec.features(images[5:]))


def test_the_network_is_not_changed(network: SliceVAE) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    Codec(network).encode(slices_for(network, 1)[:, 0].numpy())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_device_that_does_not_exist_is_refused(network: SliceVAE) -> None:
    with pytest.raises(UsageProblem, match="no such device"):
        Codec(network, "cuda:99")
