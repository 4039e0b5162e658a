"""Encoding and decoding in batches, by fast copies of networks that compute the same."""

from __future__ import annotations

import copy
import platform
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from medvae.errors import UsageProblem
from medvae.networks._vae import SliceVAE

Images = Sequence[NDArray[np.float32]] | NDArray[np.float32]
"""Images ``[size, size]`` in [0, 1], one by one or as one array ``[N, size, size]``."""

_AT_ONCE = {"cpu": 4}
"""On a CPU, larger batches are no faster, and encoding a single slice would take longer."""

_AT_ONCE_ELSEWHERE = 16


class Codec:
    """Fast copy of a model that encodes and decodes slices.

    Every batch is filled up to one size: the rounding of matrix products depends on the batch size,
    and the result for a slice must not depend on how many others there are.

    Args:
        network: Model to copy; it is not changed.
        device: Device to compute on; None selects a GPU if there is one.
        dtype: Data type of the convolutions; None for the fastest of the device.
        at_once: Number of slices in a batch; None for the fastest of the device.

    Attributes:
        device: Device to compute on.
        size: Side length of the images.
        latent_shape: Shape of one latent.

    Raises:
        UsageProblem: The device does not exist.
    """

    def __init__(
        self,
        network: SliceVAE,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        at_once: int | None = None,
    ) -> None:
        self._arguments = (network, device, dtype, at_once)
        self.device = device_named(device)
        self.size = network.image_size
        self.latent_shape = network.latent_shape
        self._at_once = at_once or _AT_ONCE.get(self.device.type, _AT_ONCE_ELSEWHERE)
        self._network = inference_copy(network, dtype or fastest_dtype(self.device))
        self._network.to(self.device)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process chooses its own device and precision, and copies the network itself.
        return type(self), self._arguments

    @torch.inference_mode()
    def encode(self, images: Images) -> tuple[Tensor, Tensor]:
        """Return the posterior means and log variances of images, each ``[N, D]`` on the CPU."""
        parts = []
        for batch, count in _batches(images, self._at_once):
            posterior = torch.stack(self._network.encode(batch.to(self.device)))
            parts.append(posterior[:, :count].flatten(2).float().cpu())
        mu, logvar = torch.cat(parts, dim=1)
        return mu, logvar

    @torch.inference_mode()
    def decode(self, z: Tensor) -> Tensor:
        """Return images ``[N, 1, size, size]``, on the device, for latents ``[N, D]``."""
        parts = []
        for batch in z.split(self._at_once):
            shaped = _filled(batch, self._at_once).reshape(-1, *self.latent_shape)
            pictures = self._network.decode(shaped.to(self.device))[: len(batch)].float()
            # A model with three channels decodes grey images in colour.
            parts.append(pictures.mean(dim=1, keepdim=True))
        return torch.cat(parts)

    @torch.inference_mode()
    def features(self, images: Images) -> NDArray[np.float32]:
        """Return the means of the encoder's feature maps, ``[N, D]``."""
        parts = []
        for batch, count in _batches(images, self._at_once):
            maps = self._network.features(batch.to(self.device))
            parts.append(maps[:count].float().mean((2, 3)).cpu().numpy())
        return np.concatenate(parts)


def device_named(name: str | torch.device | None) -> torch.device:
    """Return a device after checking that this machine can compute on it.

    Args:
        name: Device, such as ``cpu`` or ``cuda:0``; None selects a GPU if there is one.

    Raises:
        UsageProblem: The device does not exist.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # a device name can be valid without the device
    # Each missing backend raises its own kind of error, including warnings.
    except Exception as error:
        found = "cpu or cuda" if torch.cuda.is_available() else "cpu"
        raise UsageProblem(
            f"device {str(name)!r}: there is no such device on this machine; choose {found}"
        ) from error
    return device


def fastest_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 if the device supports it in hardware, otherwise float32.

    Other devices emulate bfloat16: a CPU with only AVX2 trains ten times as slowly in it, and one
    with AVX-512 but without its bfloat16 instructions three times.
    """
    if device.type == "cpu":
        able = _processor_computes_in_bfloat16()
    else:
        able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if able else torch.float32


def _processor_computes_in_bfloat16() -> bool:
    if platform.machine() in {"x86_64", "AMD64"}:  # here oneDNN counts emulation as support
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _batches(images: Images, size: int) -> Iterator[tuple[Tensor, int]]:
    """Yield batches ``[size, 1, rows, columns]``, each with the number of images that it holds."""
    for start in range(0, len(images), size):
        batch = torch.from_numpy(np.stack(list(images[start : start + size])))[:, None]
        filled = _filled(batch, size).contiguous(memory_format=torch.channels_last)
        yield filled, len(batch)


def _filled(batch: Tensor, size: int) -> Tensor:
    """Fill up a batch by repeating its last item."""
    missing = size - len(batch)
    rest = batch[-1:].expand(missing, *batch.shape[1:])
    return torch.cat((batch, rest)) if missing else batch


def inference_copy(model: SliceVAE, dtype: torch.dtype = torch.float32) -> SliceVAE:
    """Return a copy of the network that encodes and decodes in the same way, but faster.

    The convolutions include batch norm and padding, and their weights are stored channels last.
    The copy cannot be saved or trained further. Batches of 4 to 16 slices are fastest, because
    their feature maps stay in the cache.

    Args:
        model: Network to copy; it is not changed.
        dtype: Data type of the convolutions. With `torch.bfloat16`, latents differ by about one
            percent; the latents themselves remain float32.
    """
    fast = copy.deepcopy(model).eval().requires_grad_(False)
    fold_batch_norms(fast)
    widen_kernels(fast)
    pool_whole_pictures(fast)
    for module in fast.modules():
        if isinstance(module, nn.SiLU | nn.ReLU):
            module.inplace = True
    for weight in fast.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    for part in (fast.stem, fast.encoder, fast.decoder):
        part.to(dtype)
    return fast


class WholePicturePool(nn.Module):
    """Mean of each channel; maps `[N, C, H, W]` to `[N, C, 1, 1]`.

    In bfloat16 it is several times as fast as adaptive pooling, which copies its input to float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, x.shape[-2:])


def merge_padding(root: nn.Module) -> None:
    """Merge padding layers that are equal on all sides into the convolutions after them."""
    for parent, name, convolution, padding in _padded_convolutions(root):
        left, right, top, bottom = padding.padding
        if left == right == top == bottom:
            convolution.padding = (top, left)
            setattr(parent, name, nn.Identity())


def widen_kernels(root: nn.Module) -> None:
    """Merge padding layers with one more pixel at the right and bottom into convolutions.

    With equal padding, a kernel extended by a leading row and column of zeros computes what it
    did with one pixel less at the left and top. Saved weights no longer fit it.
    """
    for parent, name, convolution, padding in _padded_convolutions(root):
        left, right, top, bottom = padding.padding
        if left == top == right - 1 == bottom - 1:
            weight = functional.pad(convolution.weight.detach(), (1, 0, 1, 0))
            convolution.weight = nn.Parameter(weight, requires_grad=False)
            convolution.kernel_size = (weight.shape[-2], weight.shape[-1])
            convolution.padding = (bottom, right)
            setattr(parent, name, nn.Identity())


def fold_batch_norms(root: nn.Module) -> None:
    """Fold each batch norm into the convolution registered before it in the same module."""
    for parent in list(root.modules()):
        name, convolution = "", None
        for child_name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d):
                name, convolution = child_name, child
            elif isinstance(child, nn.BatchNorm2d) and convolution is not None:
                setattr(parent, name, fuse_conv_bn_eval(convolution, child))
                setattr(parent, child_name, nn.Identity())
                convolution = None


def pool_whole_pictures(root: nn.Module) -> None:
    """Replace adaptive pooling to one value by the faster mean."""
    for parent in list(root.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1)):
                setattr(parent, name, WholePicturePool())


def _padded_convolutions(
    root: nn.Module,
) -> Iterator[tuple[nn.Module, str, nn.Conv2d, nn.ConstantPad2d]]:
    """Yield each padding named after a convolution: parent, its name, convolution, padding."""
    for parent in list(root.modules()):
        for name, padding in list(parent.named_children()):
            convolution = getattr(parent, name.removesuffix("_padding"), None)
            if isinstance(padding, nn.ConstantPad2d) and isinstance(convolution, nn.Conv2d):
                yield parent, name, convolution, padding
