"""An anchor-free detector of MONAI's blocks: where the centre of a finding is, and how far it goes.

It is small, so that a cell of the table takes about a minute and a half on two cores, and knows one
category: a finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from monai.data.box_utils import non_max_suppression
from monai.losses.giou_loss import BoxGIoULoss
from monai.networks.nets.basic_unet import Down, TwoConv, UpCat
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .classic import vary
from .slices import Examples

__all__ = ["BATCH", "FEWEST_STEPS", "MULTIPLE", "Detector", "Found", "Part", "fit", "predict"]

BATCH = 24
MULTIPLE = 16
"""The sides of a canvas are multiples of this."""

FEWEST_STEPS = 20
"""A tenth of them is the warm-up."""

_STRIDE = 4
_CHANNELS = (16, 32, 64, 96, 128)
_NORM, _ACT = "batch", ("relu", {"inplace": True})
_RATE, _DECAY, _WARM_UP = 2e-3, 1e-3, 0.1
_SPREAD, _INSIDE, _LEAST_SIDE = 0.18, 0.6, 4.0
_MOST, _LEAST_SCORE, _OVERLAP = 12, 1e-3, 0.3
"""Findings that are predicted on a slice, their score at least, and their overlap at most."""

Found = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Boxes ``[D, 4]`` and scores ``[D]`` on one slice."""


@dataclass(frozen=True, eq=False)
class Part:
    """Examples, and how many of them are in each batch."""

    examples: Examples
    count: int


class Detector(nn.Module):
    """Looks at ``[N, 1, size, size]``, and tells of each cell of 4x4 pixels what it sees there."""

    def __init__(self) -> None:
        super().__init__()
        c = _CHANNELS
        self.stem = TwoConv(2, 1, c[0], _ACT, _NORM, bias=False)
        self.down = nn.ModuleList(Down(2, a, b, _ACT, _NORM, bias=False) for a, b in pairwise(c))
        self.up = nn.ModuleList(_up(a, b) for a, b in ((c[4], c[3]), (c[3], c[2])))
        self.heat = nn.Conv2d(c[2], 1, 1)
        self.sides = nn.Conv2d(c[2], 4, 1)
        # Nearly all cells are empty: it begins by saying so.
        nn.init.constant_(self.heat.bias, -4.0)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``[N, n, n]`` and the boxes that cells stand for, ``[N, n, n, 4]``."""
        features = [self.stem(images)]
        for down in self.down:
            features.append(down(features[-1]))
        seen = self.up[1](self.up[0](features[4], features[3]), features[2])
        sides = functional.softplus(self.sides(seen).float().permute(0, 2, 3, 1)) * 2 * _STRIDE
        centres = _centres(sides.shape[1], sides.device)
        boxes = torch.cat((centres - sides[..., :2], centres + sides[..., 2:]), dim=-1)
        return self.heat(seen).float()[:, 0], boxes


def _up(below: int, beside: int) -> UpCat:
    return UpCat(
        2,
        below,
        beside,
        beside,
        _ACT,
        _NORM,
        bias=False,
        upsample="nontrainable",
        pre_conv=None,
        interp_mode="nearest",
        align_corners=None,
    )


def _centres(cells: int, device: torch.device) -> Tensor:
    """Return x and y of the centres of cells, ``[n, n, 2]``."""
    places = (torch.arange(cells, device=device) + 0.5) * _STRIDE
    y, x = torch.meshgrid(places, places, indexing="ij")
    return torch.stack((x, y), dim=-1)


def targets(boxes: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Say what the cells should tell.

    Args:
        boxes: ``[N, K, 4]``, filled up with boxes of zeros.
        size: of the canvas.

    Returns:
        How near each cell is to the centre of a finding, ``[N, n, n]`` with 1 at the centre; which
        cells must know a box, and the box, ``[N, n, n, 4]``.
    """
    cells = size // _STRIDE
    sides = boxes[..., 2:] - boxes[..., :2]
    real = (sides > 0).all(dim=-1)[..., None, None]
    middle, spread = (boxes[..., 2:] + boxes[..., :2]) / 2, sides.clamp(min=_LEAST_SIDE) * _SPREAD
    away = (_centres(cells, boxes.device) - middle[:, :, None, None]) / spread[:, :, None, None]
    near = torch.exp(-away.square().sum(dim=-1) / 2)
    own = (middle / _STRIDE).long().clamp(0, cells - 1)
    numbers = torch.arange(cells, device=boxes.device)
    central = (numbers[:, None] == own[..., 1, None, None]) & (numbers == own[..., 0, None, None])
    near = torch.where(central, 1.0, near) * real
    best, which = near.max(dim=1)
    chosen = which.flatten(1)[..., None].expand(-1, -1, 4)
    return best, best > _INSIDE, boxes.gather(1, chosen).unflatten(1, (cells, cells))


def loss(predicted: tuple[Tensor, Tensor], boxes: Tensor, size: int) -> Tensor:
    """Compare what cells tell with what they should: focal loss, and generalized overlap."""
    logits, found = predicted
    near, inside, wanted = targets(boxes, size)
    share = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    centre = near == 1
    hit = (1 - share).square() * share.log() * centre
    miss = (1 - near) ** 4 * share.square() * (1 - share).log() * ~centre
    total = -(hit + miss).sum() / centre.sum().clamp(min=1)
    if inside.any():
        total = total + BoxGIoULoss()(found[inside], wanted[inside])
    return total


def fit(
    parts: Sequence[Part], steps: int, seed: int, classic: float, device: torch.device
) -> Detector:
    """Train a detector from scratch.

    Args:
        parts: what each batch is made of.
        steps: of the training.
        seed: of the first weights and of every draw.
        classic: strength of the classic augmentation.
        device: to compute on.
    """
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    model = Detector().to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _RATE, total_steps=steps, pct_start=_WARM_UP
    )
    for _ in range(steps):
        images, boxes = _batch(parts, random, device)
        if classic:
            images, boxes = vary(images, boxes, random, classic)
        with _autocast(device):
            predicted = model(images.contiguous(memory_format=torch.channels_last))
        optimizer.zero_grad()
        loss(predicted, boxes.to(device), images.shape[-1]).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def _batch(
    parts: Sequence[Part], random: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    images, boxes = [], []
    most = max(part.examples.boxes.shape[1] for part in parts)
    for part in parts:
        rows = torch.randint(len(part.examples), (part.count,), generator=random)
        images.append(part.examples.images[rows])
        own = part.examples.boxes[rows]
        boxes.append(functional.pad(own, (0, 0, 0, most - own.shape[1])))
    return torch.cat(images).to(device).float(), torch.cat(boxes)


def _autocast(device: torch.device) -> torch.autocast:
    """Compute in bfloat16 where that is fast."""
    able = device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=able)


@torch.inference_mode()
def predict(model: Detector, images: Tensor, device: torch.device) -> list[Found]:
    """Find what is on slices, ``[N, 1, size, size]``, one finding at a place."""
    found: list[Found] = []
    for batch in images.split(64):
        with _autocast(device):
            logits, boxes = model(
                batch.to(device).float().contiguous(memory_format=torch.channels_last)
            )
        heat = logits.sigmoid()
        peaks = heat * (heat == functional.max_pool2d(heat[:, None], 3, 1, 1)[:, 0])
        scores, places = peaks.flatten(1).topk(min(_MOST, peaks[0].numel()))
        at = boxes.flatten(1, 2).gather(1, places[..., None].expand(-1, -1, 4))
        size = batch.shape[-1]
        found += [_apart(b.clamp(0, size), s) for b, s in zip(at.cpu(), scores.cpu(), strict=True)]
    return found


def _apart(boxes: Tensor, scores: Tensor) -> Found:
    """Keep the best of those that overlap."""
    seen = scores > _LEAST_SCORE
    boxes, scores = boxes[seen], scores[seen]
    if len(boxes):
        best = non_max_suppression(boxes, scores, nms_thresh=_OVERLAP)
        boxes, scores = boxes[best], scores[best]
    return boxes.numpy(), scores.numpy()
