"""Fast copies of networks for inference, by rewrites that preserve what a network computes."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

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
