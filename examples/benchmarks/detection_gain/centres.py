"""Anchor-free detector, built of MONAI's blocks, that predicts the centres and sides of findings.

It is small, so that a cell of the table takes three minutes on two cores that support bfloat16.
"""

from __future__ import annotations

from typing import cast

import torch
from monai.data.box_utils import non_max_suppression
from monai.losses.giou_loss import BoxGIoULoss
from monai.networks.nets.basic_unet import UpCat
from torch import Tensor, nn
from torch.nn import functional

from .detector import (
    ACT,
    CHANNELS,
    LEAST_SCORE,
    MOST_FOUND,
    MOST_OVERLAP,
    NORM,
    Detector,
    Encoder,
    Found,
    reduced_precision,
)
from .slices import are_findings

__all__ = ["Centres"]

_STRIDE = 4
_SPREAD, _INSIDE, _LEAST_SIDE = 0.18, 0.6, 4.0


class Centres(Detector):
    """Detector on ``[N, 1, size, size]`` with a score and a box for each cell of 4x4 pixels."""

    def __init__(self) -> None:
        super().__init__()
        c = CHANNELS
        self.encoder = Encoder()
        self.up = nn.ModuleList(_up(a, b) for a, b in ((c[4], c[3]), (c[3], c[2])))
        self.heat = nn.Conv2d(c[2], 1, 1)
        self.sides = nn.Conv2d(c[2], 4, 1)
        # Nearly all cells are empty, so the initial scores are low.
        nn.init.constant_(cast(Tensor, self.heat.bias), -4.0)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits ``[N, n, n]`` and the boxes ``[N, n, n, 4]`` of the cells."""
        features = self.encoder(images)
        seen = self.up[1](self.up[0](features[4], features[3]), features[2])
        sides = functional.softplus(self.sides(seen).float().permute(0, 2, 3, 1)) * 2 * _STRIDE
        centres = _centres(sides.shape[1], sides.device)
        boxes = torch.cat((centres - sides[..., :2], centres + sides[..., 2:]), dim=-1)
        return self.heat(seen).float()[:, 0], boxes

    def loss(self, images: Tensor, boxes: Tensor) -> Tensor:
        """Return the focal loss of the scores plus the generalized IoU loss of the boxes."""
        with reduced_precision(images.device):
            logits, found = self(images)
        near, inside, wanted = targets(boxes, images.shape[-1])
        share = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
        centre = near == 1
        hit = (1 - share).square() * share.log() * centre
        miss = (1 - near) ** 4 * share.square() * (1 - share).log() * ~centre
        total: Tensor = -(hit + miss).sum() / centre.sum().clamp(min=1)
        if inside.any():
            total = total + BoxGIoULoss()(found[inside], wanted[inside])
        return total

    def find(self, images: Tensor) -> list[Found]:
        """Return the boxes at the peaks of the heat map, and their scores."""
        with reduced_precision(images.device):
            logits, boxes = self(images)
        heat = logits.sigmoid()
        peaks = heat * (heat == functional.max_pool2d(heat[:, None], 3, 1, 1)[:, 0])
        scores, places = peaks.flatten(1).topk(min(MOST_FOUND, peaks[0].numel()))
        at = boxes.flatten(1, 2).gather(1, places[..., None].expand(-1, -1, 4))
        at = at.clamp(0, images.shape[-1])
        return [_apart(b, s) for b, s in zip(at.cpu(), scores.cpu(), strict=True)]


def _up(below: int, beside: int) -> UpCat:
    return UpCat(
        2,
        below,
        beside,
        beside,
        ACT,
        NORM,
        bias=False,
        upsample="nontrainable",
        pre_conv=None,
        interp_mode="nearest",
        align_corners=None,
        is_pad=False,
    )


def _centres(cells: int, device: torch.device) -> Tensor:
    """Return the x and y coordinates of the centres of cells, ``[n, n, 2]``."""
    places = (torch.arange(cells, device=device) + 0.5) * _STRIDE
    y, x = torch.meshgrid(places, places, indexing="ij")
    return torch.stack((x, y), dim=-1)


def targets(boxes: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return what should be predicted for each cell.

    Args:
        boxes: Boxes ``[N, K, 4]``, padded with zeros.
        size: Side of the canvas in pixels.

    Returns:
        The proximity of each cell to the centre of a finding, ``[N, n, n]`` with 1 at the centre;
        a mask of the cells that must predict a box; and the boxes, ``[N, n, n, 4]``.
    """
    cells = size // _STRIDE
    sides = boxes[..., 2:] - boxes[..., :2]
    middle, spread = (boxes[..., 2:] + boxes[..., :2]) / 2, sides.clamp(min=_LEAST_SIDE) * _SPREAD
    away = (_centres(cells, boxes.device) - middle[:, :, None, None]) / spread[:, :, None, None]
    near = torch.exp(-away.square().sum(dim=-1) / 2)
    own = (middle / _STRIDE).long().clamp(0, cells - 1)
    numbers = torch.arange(cells, device=boxes.device)
    central = (numbers[:, None] == own[..., 1, None, None]) & (numbers == own[..., 0, None, None])
    near = torch.where(central, 1.0, near) * are_findings(boxes)[..., None, None]
    best, which = near.max(dim=1)
    chosen = which.flatten(1)[..., None].expand(-1, -1, 4)
    return best, best > _INSIDE, boxes.gather(1, chosen).unflatten(1, (cells, cells))


def _apart(boxes: Tensor, scores: Tensor) -> Found:
    """Keep the best of the boxes that overlap one another."""
    seen = scores > LEAST_SCORE
    boxes, scores = boxes[seen], scores[seen]
    if len(boxes):
        best = non_max_suppression(boxes, scores, nms_thresh=MOST_OVERLAP)
        boxes, scores = boxes[best], scores[best]
    return boxes.numpy(), scores.numpy()
