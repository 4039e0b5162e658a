"""Variational autoencoders for slices: their parts, losses, storage and fast inference."""

from __future__ import annotations

from medvae.networks._codec import Codec, device_named, fastest_dtype, inference_copy
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
from medvae.networks._losses import (
    CalibratedLoss,
    LossTerms,
    PublishedLoss,
    VAELoss,
    active_units,
    kl_of_units,
)
from medvae.networks._store import PARTS, build, load_model, parts_for, save_model, without_weights
from medvae.networks._vae import (
    Decoder,
    DecoderPart,
    EncoderPart,
    Features,
    GrayToColor,
    LatentHead,
    LatentPart,
    Reconstruction,
    SliceVAE,
    StemPart,
)

__all__ = [
    "PARTS",
    "VGG11BN",
    "CalibratedLoss",
    "Codec",
    "ConvDecoder",
    "Decoder",
    "DecoderPart",
    "EfficientNet",
    "EncoderPart",
    "Features",
    "FullyConnectedLatent",
    "GrayToColor",
    "LatentHead",
    "LatentPart",
    "LossTerms",
    "PlainEncoder",
    "PublishedLoss",
    "Reconstruction",
    "ResNet152",
    "ResidualDecoder",
    "ResidualEncoder",
    "SliceVAE",
    "SpatialLatent",
    "StemPart",
    "VAELoss",
    "VectorLatent",
    "active_units",
    "build",
    "device_named",
    "fastest_dtype",
    "inference_copy",
    "kl_of_units",
    "load_model",
    "parts_for",
    "save_model",
    "without_weights",
]
