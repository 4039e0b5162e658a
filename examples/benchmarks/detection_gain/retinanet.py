"""MONAI's RetinaNet on a small feature pyramid, as a second detector, which has anchors."""

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
"""Number of the coarsest features that form the pyramid."""

_WIDTH = 64
_ANCHORS = ((16, 16), (11, 22), (22, 11))
"""Anchors on the finest level, in pixels; they double in size on each coarser level."""

_CANDIDATES = 4
"""Number of anchors of each level that may be matched to a finding."""

_FOCUS, _POSITIVE = 2.0, 0.25
"""Exponent of the focal loss, and the weight of findings relative to background."""

_YX = (1, 0, 3, 2)
"""Order of coordinates for MONAI's boxes, which have the first spatial axis, rows, first."""


class RetinaNet(Detector):
    """Detector on ``[N, 1, size, size]`` with anchors of 16 to 64 pixels."""

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
        """Return the sum of the losses of both heads."""
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
        """Return the best boxes that do not overlap."""
        return [
            (found["boxes"][:, _YX].cpu().numpy(), found["labels_scores"].cpu().numpy())
            for found in self.detector(images)
        ]


class _Matched(RetinaNetDetector):
    """RetinaNet trained on all anchors, as published, with the generalized IoU of boxes.

    MONAI's own loss looks up torchvision's classes even where it uses none of them.
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
    """Heads computed in bfloat16 where that is fast, with float32 output for losses and boxes."""

    def forward(self, images: Tensor) -> dict[str, list[Tensor]]:
        with reduced_precision(images.device):
            said = super().forward(images)
        return {name: [values.float() for values in levels] for name, levels in said.items()}


class _Pyramid(nn.Module):
    """Features of three sizes, from a quarter of the canvas down, with equal channels."""

    out_channels = _WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.pyramid = FeaturePyramidNetwork(2, list(CHANNELS[-_LEVELS:]), _WIDTH)

    def forward(self, images: Tensor) -> list[Tensor]:
        features = self.encoder(images)[-_LEVELS:]
        levels = {str(level): values for level, values in enumerate(features)}
        return list(self.pyramid(levels).values())
