"""Pretrained weights for encoders, from ImageNet or from the user's own file."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from medvae.errors import ReadError

_EFFICIENTNET_STAGE = re.compile(r"^_blocks\.\d+\.(?=\d+\.)")
_CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.", "classifier.", "fc.")


def load_pretrained(module: nn.Module, pretrained: bool | str, url: str) -> None:
    """Load weights into an encoder: none if False, those of ImageNet if True, or those of a file.

    The ImageNet weights, whose parameters have the same names, are cached in the torch hub folder.
    """
    if pretrained is False:
        return
    path = _imagenet_file(url) if pretrained is True else Path(pretrained)
    weights = {
        _EFFICIENTNET_STAGE.sub("_blocks.", name): value
        for name, value in read_weights(path).items()
        if not name.startswith(_CLASSIFIER)
    }
    fit_weights(module, weights, path, "use weights of the same encoder")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weight file by name, without running code from it.

    The file holds safetensors, or a state dict written by `torch.save`.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ReadError(f"{path}: there is no such weight file; check the path") from error
    except (OSError, RuntimeError, SafetensorError, EOFError, pickle.UnpicklingError) as error:
        raise ReadError(f"{path}: not a weight file that can be read safely") from error
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise ReadError(f"{path}: not a state dict, which maps names to tensors")
    return weights


def fit_weights(module: nn.Module, weights: dict[str, Tensor], path: Path, remedy: str) -> None:
    """Load finite weights into a module that has the same names and shapes.

    The module may be on the meta device, as its tensors are replaced. Error messages name `path`,
    from which the weights were read, and the remedy.
    """
    wanted = module.state_dict()
    # Old ImageNet files date from before batch norm counted its batches.
    counters = {n: torch.tensor(0) for n in wanted if n.endswith("num_batches_tracked")}
    weights = counters | weights
    for name, value in wanted.items():
        if name not in weights:
            raise ReadError(f"{path}: does not fit the network: {name} is missing; {remedy}")
        if weights[name].shape != value.shape:
            shapes = f"must be {list(value.shape)} but is {list(weights[name].shape)}"
            raise ReadError(f"{path}: does not fit the network: {name} {shapes}; {remedy}")
    if surplus := sorted(weights.keys() - wanted.keys()):
        raise ReadError(f"{path}: does not fit the network, which has no {surplus[0]}; {remedy}")
    for name, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ReadError(
                f"{path}: {name} holds values that are NaN or infinite, so the network can compute "
                "nothing; use the weights of another training"
            )
    # Copied, because a file's tensors can have any alignment, which affects the rounding of sums.
    typed = {n: weights[n].to(value.dtype, copy=True) for n, value in wanted.items()}
    module.load_state_dict(typed, assign=True)


def _imagenet_file(url: str) -> Path:
    """Return the path of the ImageNet weights, after downloading them if necessary."""
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The names of the files end with the first digits of their hashes.
        digits = path.stem.rpartition("-")[2]
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digits, progress=False)
    except (OSError, RuntimeError) as error:
        raise ReadError(
            f"cannot download {url}; save the file as {path}, or pass its path as pretrained"
        ) from error
    return path
