"""Networks built from plain JSON, and models stored as `model.json` and `model.safetensors`."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch.overrides import TorchFunctionMode

from medvae.atomic import write_files
from medvae.errors import ReadError, UsageProblem
from medvae.networks._convolutions import (
    VGG11BN,
    ConvDecoder,
    PlainEncoder,
    ResidualDecoder,
    ResidualEncoder,
    ResNet152,
)
from medvae.networks._efficientnet import EfficientNet
from medvae.networks._latents import FullyConnectedLatent, SpatialLatent, VectorLatent
from medvae.networks._losses import CalibratedLoss, PublishedLoss, VAELoss
from medvae.networks._pretrained import fit_weights, read_weights
from medvae.networks._vae import (
    DecoderPart,
    EncoderPart,
    GrayToColor,
    LatentPart,
    NetworkPart,
    SliceVAE,
    StemPart,
)
from medvae.schema import read_object

PARTS: dict[str, type[NetworkPart] | type[VAELoss]] = {
    part.__name__: part
    for part in (
        GrayToColor,
        EfficientNet,
        ResNet152,
        VGG11BN,
        ResidualEncoder,
        PlainEncoder,
        VectorLatent,
        FullyConnectedLatent,
        SpatialLatent,
        ConvDecoder,
        ResidualDecoder,
        CalibratedLoss,
        PublishedLoss,
    )
}
"""Parts of networks and losses by name. A model file can only refer to the parts listed here."""

_ROLES: Mapping[str, type] = {
    "stem": StemPart,
    "encoder": EncoderPart,
    "latent": LatentPart,
    "decoder": DecoderPart,
    "loss": VAELoss,
}

_FORMAT = 1

_MOST = {"image_size": 4096, "blocks": 128, "doublings": 16, "halvings": 16, "kernel_size": 63}
_MOST_OF_OTHERS = 2**20
_LONGEST_LIST = 32
"""Limits on the arguments of a network read from a file, far above those of shipped networks."""


def parts_for(role: str) -> dict[str, type]:
    """Return the entries of `PARTS` for a role: stem, encoder, latent, decoder or loss.

    There are none for any other role.
    """
    return {name: part for name, part in PARTS.items() if issubclass(part, _ROLES.get(role, ()))}


def build(description: Mapping[str, Any]) -> SliceVAE:
    """Return the network that :meth:`SliceVAE.describe` described, with random weights.

    Args:
        description: Plain JSON, in which parts are named as in `PARTS`.

    Raises:
        UsageProblem: The description is not that of a valid network.
    """
    try:
        roles = ("stem", "encoder", "latent", "decoder")
        parts = {role: _part(description.get(role), role) for role in roles}
        numbers = {name: description[name] for name in ("image_size", "out_channels")}
        return SliceVAE(**parts, **numbers)
    except UsageProblem:
        raise
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageProblem(f"the description of the network cannot be used: {reason}") from error


def save_model(model: SliceVAE, folder: str | Path) -> None:
    """Write a model as `model.json` and `model.safetensors`, which contain no code.

    Both are put in place once they are complete: if writing fails, an older model is kept.

    Raises:
        WriteError: A file cannot be written.
    """
    folder = Path(folder)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    description = {"format": _FORMAT, "network": model.describe()}
    write_files(
        {
            folder / "model.safetensors": safetensors.torch.save(weights),
            folder / "model.json": (json.dumps(description, indent=2) + "\n").encode(),
        }
    )


def load_model(folder: str | Path) -> SliceVAE:
    """Return the model that :func:`save_model` wrote, in eval mode, on the CPU.

    Raises:
        ReadError: A file is missing or damaged, or the weights do not fit the network.
    """
    folder = Path(folder)
    path = folder / "model.json"
    saved = read_object(path, f"{folder}: no model here, model.json is missing")
    if saved.content.get("format") != _FORMAT:
        raise saved.wrong("format", str(_FORMAT))
    network = saved.object("network").content
    try:
        _check_sizes(network)
        # Nothing is allocated until the weights have been read and fit.
        with without_weights():
            model = build(network)
    except UsageProblem as error:
        raise ReadError(f"{path}: {error}") from error
    weights_path = folder / "model.safetensors"
    remedy = f"take it and {path.name} from the same run"
    fit_weights(model, read_weights(weights_path), weights_path, remedy)
    return model.eval()


def _check_sizes(network: Mapping[str, Any]) -> None:
    """Refuse a network with a part larger than any in use, before it is built."""
    parts = {name: part for name, part in network.items() if isinstance(part, Mapping)}
    for where, arguments in ({"": network} | parts).items():
        for name, value in arguments.items():
            values = value if isinstance(value, list) else [value]
            most = _MOST.get(name, _MOST_OF_OTHERS)
            if len(values) > _LONGEST_LIST:
                raise UsageProblem(
                    f"{where} {name} has {len(values)} values, more than {_LONGEST_LIST}".strip()
                )
            for one in values:
                if isinstance(one, int) and one > most:
                    raise UsageProblem(
                        f"{where} {name} must be at most {most}, but is {reprlib.repr(one)}".strip()
                    )


@contextmanager
def without_weights() -> Iterator[None]:
    """Create networks on the device "meta": no weight is allocated or drawn."""
    with torch.device("meta"), _NothingDrawn():
        yield


class _NothingDrawn(TorchFunctionMode):
    """Mode that skips normal initialisation, for which torch loads its compiler on "meta"."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return args[0] if func is torch.Tensor.normal_ else func(*args, **(kwargs or {}))


def _part(description: object, role: str) -> Any:
    """Return the part of a network, one of `PARTS`, that :meth:`NetworkPart.describe` described."""
    arguments = dict(description) if isinstance(description, Mapping) else {}
    name, choices = arguments.pop("part", None), parts_for(role)
    if name not in choices:
        raise UsageProblem(f"{role}: unknown part {name!r}; choose from {', '.join(choices)}")
    # A description read from a file must not make the loader fetch or read other files.
    arguments.pop("pretrained", None)
    return choices[name](**arguments)
