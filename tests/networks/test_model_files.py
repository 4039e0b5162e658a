"""Models in a folder, and networks from plain JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from medvae.errors import ReadError, UsageProblem, WriteError
from medvae.networks import EfficientNet, SliceVAE, build, load_model, save_model
from tiny_networks import slices_for


def test_description_is_plain_json_and_builds_the_same_network(variant: SliceVAE) -> None:
    description = json.loads(json.dumps(variant.describe()))
    rebuilt = build(description)
    assert rebuilt.describe() == description
    shapes = {name: value.shape for name, value in variant.state_dict().items()}
    assert {name: value.shape for name, value in rebuilt.state_dict().items()} == shapes


def test_saved_model_loads_bit_equal(trained_variant: SliceVAE, tmp_path: Path) -> None:
    save_model(trained_variant, tmp_path / "models")
    loaded = load_model(tmp_path / "models")
    x = slices_for(trained_variant)
    assert not loaded.training
    assert torch.equal(loaded(x), trained_variant(x))
    loaded_state = loaded.state_dict()
    for name, value in trained_variant.state_dict().items():
        assert torch.equal(loaded_state[name], value), name
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == [
        "model.json",
        "model.safetensors",
    ]


def test_channels_last_model_can_be_saved(plain: SliceVAE, tmp_path: Path) -> None:
    plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save_model(plain, tmp_path)
    assert torch.equal(load_model(tmp_path).stem.weight, plain.stem.weight)


def test_loaded_model_trains(plain: SliceVAE, tmp_path: Path) -> None:
    save_model(plain, tmp_path)
    loaded = load_model(tmp_path).train()
    loaded(slices_for(loaded)).sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


def test_pretrained_weights_are_no_part_of_the_description() -> None:
    assert "pretrained" not in EfficientNet(pretrained="weights.pth").describe()


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "model.json"
    saved = json.loads(path.read_text())
    change(saved)
    path.write_text(json.dumps(saved))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model.json").unlink(), "no model here, model.json is missing"),
        (lambda f: (f / "model.json").write_text("{"), "cannot be read as JSON"),
        (lambda f: (f / "model.json").write_text("[]"), "model.json: must be a JSON object"),
        (lambda f: (f / "model.json").write_text("[" * 100_000), "is nested too deeply"),
        (lambda f: _edit(f, lambda s: s.update(network=[])), "'network' must be an object"),
        (lambda f: _edit(f, lambda s: s.update(format=2)), "'format' must be 1, but is 2"),
        (
            lambda f: _edit(f, lambda s: s["network"]["encoder"].update(part="os.system")),
            "encoder: unknown part 'os.system'; choose from EfficientNet, ResNet152, .*Encoder$",
        ),
        (
            lambda f: _edit(f, lambda s: s["network"]["latent"].update(size=8)),
            r"latent.inward.3.weight must be \[8, 6272\] but is \[16, 6272\]",
        ),
        (
            lambda f: _edit(f, lambda s: s["network"]["decoder"].update(channels=[32, 24])),
            "does not fit the network: decoder.body",
        ),
        (lambda f: (f / "model.safetensors").unlink(), "there is no such weight file"),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"not weights"),
            "not a weight file that can be read safely",
        ),
        (
            lambda f: safetensors.torch.save_file({}, f / "model.safetensors"),
            "does not fit the network: stem.weight is missing",
        ),
    ],
)
def test_damaged_model_is_refused_in_one_line(
    plain: SliceVAE, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    save_model(plain, tmp_path)
    damage(tmp_path)
    with pytest.raises(ReadError, match=message) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(
    plain: SliceVAE, tmp_path: Path, value: float
) -> None:
    save_model(plain, tmp_path)
    path = tmp_path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    weights["stem.weight"].view(-1)[0] = value
    safetensors.torch.save_file(weights, path)
    with pytest.raises(ReadError, match=r"stem\.weight holds values that are NaN or infinite"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("decoder", {"part": "ResidualDecoder", "doublings": 10**11}),
        ("decoder", {"part": "ResidualDecoder", "blocks": 10**6}),
        ("decoder", {"part": "ConvDecoder", "channels": [8] * 10**6}),
        ("encoder", {"part": "ResidualEncoder", "halvings": 10**11}),
        ("encoder", {"part": "ResidualEncoder", "blocks": 10**6}),
        ("latent", {"size": 10**30}),
        ("stem", {"kernel_size": 10**9}),
        (None, {"image_size": 10**12}),
    ],
)
def test_a_network_beyond_any_use_is_refused_before_it_is_built(
    plain: SliceVAE, tmp_path: Path, part: str | None, change: dict[str, Any]
) -> None:
    save_model(plain, tmp_path)
    _edit(tmp_path, lambda s: (s["network"] if part is None else s["network"][part]).update(change))
    with pytest.raises(ReadError, match=r"model\.json: .* (must be at most|has \d+ values)"):
        load_model(tmp_path)


def test_surplus_weights_are_refused(plain: SliceVAE, tmp_path: Path) -> None:
    save_model(plain, tmp_path)
    path = tmp_path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file(weights | {"other.weight": torch.zeros(1)}, path)
    with pytest.raises(ReadError, match=r"which has no other\.weight"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"latent": None},
        {"encoder": {"part": "PlainEncoder", "chanels": [8]}},
        {"encoder": {"part": "PlainEncoder", "channels": []}},
        {"encoder": {"part": "PlainEncoder", "channels": [-8]}},
        {"encoder": {"part": "ConvDecoder"}},
        {"image_size": "28"},
        {"image_size": 0},
    ],
)
def test_impossible_description_is_refused(plain: SliceVAE, change: dict[str, Any]) -> None:
    with pytest.raises(UsageProblem):
        build(plain.describe() | change)


def test_failed_write_leaves_the_old_model(
    plain: SliceVAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(plain, tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(WriteError, match=r"model\.safetensors: cannot be written: .*No space"):
        save_model(plain, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
