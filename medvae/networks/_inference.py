"""Fast copies of networks for inference, and the choice of device and precision."""

from __future__ import annotations

import copy
import platform

import torch
from torch import nn

from medvae.errors import UsageProblem
from medvae.networks._folding import fold_batch_norms, pool_whole_pictures, widen_kernels
from medvae.networks._vae import SliceVAE


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
