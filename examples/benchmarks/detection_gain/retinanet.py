"""MONAI's RetinaNet on a small feature pyramid: a second opinion, by a detector with anchors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.networks.retinanet_network import RetinaNet as MonaiRetinaNet
from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
from monai.losses.focal_loss import sigmoid_focal_loss
from monai.losses.giou_loss import BoxGIoULoss
from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork
from torch import Tensor, nn

from .detector import (
    CHANNELS,
    LEAST_SCORE,
    MOST_FOUND,
    MOST_OVERLAP,
    MULTIPLE,
    Detector,
    Encoder,
    Found,
    reduced_precision,
)
from .slices import are_findings

__all__ = ["RetinaNet"]

_LEVELS = 3
"""The pyramid is made of so many of the coarsest features."""

_WIDTH = 64
_ANCHORS = ((16, 16), (11, 22), (22, 11))
"""In pixels, on the finest level; twice as large on each next one."""

_CANDIDATES = 4
"""Anchors of each level that may stand for a finding."""

_FOCUS, _POSITIVE = 2.0, 0.25
"""Of the focal loss: its exponent, and what findings weigh beside all that is none."""

_YX = (1, 0, 3, 2)
"""MONAI's boxes have the first axis of space first: rows."""


class RetinaNet(Detector):
    """Looks at ``[N, 1, size, size]`` from anchors of 16 to 64 pixels."""

    def __init__(self) -> None:
        super().__init__()
        scales = [2**level for level in range(_LEVELS)]
        self.detector = _Matched(
            _Heads(2, 1, len(_ANCHORS), _Pyramid(), MULTIPLE),
            AnchorGeneratorWithAnchorShape(scales, _ANCHORS),
        )
        self.detector.set_atss_matcher(_CANDIDATES)
        self.detector.set_box_selector_parameters(
            score_thresh=LEAST_SCORE, nms_thresh=MOST_OVERLAP, detections_per_img=MOST_FOUND
        )

    def loss(self, images: Tensor, boxes: Tensor) -> Tensor:
        """Add up the losses of both heads."""
        wanted = [own[are_findings(own)][:, _YX] for own in boxes]
        losses: dict[str, Tensor] = self.detector(
            images,
            [
                {"boxes": own, "labels": torch.zeros_like(own[:, 0], dtype=torch.long)}
                for own in wanted
            ],
        )
        return torch.stack(tuple(losses.values())).sum()

    def find(self, images: Tensor) -> list[Found]:
        """Take the best boxes that do not overlap."""
        return [
            (found["boxes"][:, _YX].cpu().numpy(), found["labels_scores"].cpu().numpy())
            for found in self.detector(images)
        ]


class _Matched(RetinaNetDetector):
    """Learns from all anchors, as RetinaNet was published, with the generalized overlap of boxes.

    MONAI's own loss looks torchvision's classes up, also where it uses none of them.
    """

    def compute_loss(
        self,
        head_outputs_reshape: dict[str, Tensor],
        targets: list[dict[str, Tensor]],
        anchors: list[Tensor],
        num_anchor_locs_per_level: Sequence[int],
    ) -> dict[str, Tensor]:
        logits = head_outputs_reshape[self.cls_key][..., 0]
        found, wanted = [], []
        is_finding = torch.zeros_like(logits)
        for row, (codes, target, own) in enumerate(
            zip(head_outputs_reshape[self.box_reg_key], targets, anchors, strict=True)
        ):
            boxes = target[self.target_box_key]
            if not len(boxes):
                continue
            _, which = self.proposal_matcher(
                boxes, own, num_anchor_locs_per_level, self.num_anchors_per_loc
            )
            matched = which >= 0
            is_finding[row, matched] = 1
            found.append(self.box_coder.decode_single(codes[matched], own[matched]))
            wanted.append(boxes[which[matched]])
        told = sigmoid_focal_loss(logits, is_finding, _FOCUS, _POSITIVE).sum()
        overlap = BoxGIoULoss()(torch.cat(found), torch.cat(wanted)) if found else 0 * told
        return {
            self.cls_key: told / is_finding.sum().clamp(min=1),
            self.box_reg_key: overlap,
        }


class _Heads(MonaiRetinaNet):
    """Computes in bfloat16 where that is fast; losses and boxes want what it says in float32."""

    def forward(self, images: Tensor) -> dict[str, list[Tensor]]:
        with reduced_precision(images.device):
            said = super().forward(images)
        return {name: [values.float() for values in levels] for name, levels in said.items()}


class _Pyramid(nn.Module):
    """Features of three sizes, from a quarter of the canvas on, of as many channels."""

    out_channels = _WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.pyramid = FeaturePyramidNetwork(2, list(CHANNELS[-_LEVELS:]), _WIDTH)

    def forward(self, images: Tensor) -> list[Tensor]:
        features = self.encoder(images)[-_LEVELS:]
        levels = {str(level): values for level, values in enumerate(features)}
        return list(self.pyramid(levels).values())
