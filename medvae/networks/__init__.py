"""Variational autoencoders for slices: their parts, losses, storage and fast inference."""

from __future__ import annotations

from medvae.networks._codec import Codec, device_named, fastest_dtype
from medvae.networks._decoders import ConvDecoder, ResidualDecoder
from medvae.networks._efficientnet import EfficientNet
from medvae.networks._encoders import VGG11BN, PlainEncoder, ResidualEncoder, ResNet152
from medvae.networks._inference import inference_copy
from medvae.networks._latents import FullyConnectedLatent, SpatialLatent, VectorLatent
from medvae.networks._losses import (
    CalibratedLoss,
    LossTerms,
    PublishedLoss,
    active_units,
    kl_of_units,
)
from medvae.networks._parts import GrayToColor
from medvae.networks._store import build, load_model, save_model, without_weights
from medvae.networks._vae import Reconstruction, SliceVAE

__all__ = [
    "VGG11BN",
    "CalibratedLoss",
    "Codec",
    "ConvDecoder",
    "EfficientNet",
    "FullyConnectedLatent",
    "GrayToColor",
    "LossTerms",
    "PlainEncoder",
    "PublishedLoss",
    "Reconstruction",
    "ResNet152",
    "ResidualDecoder",
    "ResidualEncoder",
    "SliceVAE",
    "SpatialLatent",
    "VectorLatent",
    "active_units",
    "build",
    "device_named",
    "fastest_dtype",
    "inference_copy",
    "kl_of_units",
    "load_model",
    "save_model",
    "without_weights",
]
