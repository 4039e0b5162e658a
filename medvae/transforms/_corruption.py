"""Corruptions for denoising training: the input loses information, the target stays clean.

A dictionary transform replaces the images under its keys, as in MONAI. Copy the target first,
with ``CopyItemsd(keys="image", names="target")``. Image values range from 0 to 1; noise may exceed
that range.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection, NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms.transform import MapTransform, RandomizableTransform
from monai.utils.enums import TransformBackends
from monai.utils.type_conversion import convert_to_tensor

from medvae.errors import UsageProblem

Range = float | tuple[float, float]
"""A single value, or the two limits between which a value is drawn for each image."""

_STD: Range = (0.0, 0.1)
_PHOTONS: Range = (50.0, 500.0)
_ELECTRONIC_STD: Range = (0.0, 0.03)


class _RandCorruption(RandomizableTransform):
    """A corruption of one image `[C, H, W]`: `randomize` draws it, and `__call__` applies it."""

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012

    _drawn: Any = None

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> torch.Tensor:
        """Return the corrupted image as float32, with the same shape and metadata.

        Args:
            img: Image `[C, H, W]`.
            randomize: Whether to draw again; if False, the last draw is reused.
        """
        track_meta = get_track_meta()
        picture: torch.Tensor = convert_to_tensor(img, dtype=torch.float32, track_meta=track_meta)
        if randomize:
            self.randomize(picture)
        return self._applied(picture, self._drawn) if self._do_transform else picture

    def randomize(self, data: torch.Tensor) -> None:
        """Draw whether to corrupt this image `[C, H, W]`, and the parameters of the corruption."""
        super().randomize(None)
        if self._do_transform:
            self._drawn = self._draw(data)

    @abstractmethod
    def _draw(self, picture: torch.Tensor) -> Any:
        """Draw what :meth:`_applied` needs to corrupt an image of this size."""

    def _applied(self, picture: torch.Tensor, drawn: Any) -> torch.Tensor:
        """Return the corrupted image; by default, what was drawn is additive noise."""
        noisy: torch.Tensor = picture + drawn
        return noisy

    def _normal(self, picture: torch.Tensor, std: float) -> torch.Tensor:
        noise = self.R.standard_normal(tuple(picture.shape)) * std
        return torch.as_tensor(noise, dtype=torch.float32, device=picture.device)


class RandMaskCorruption(_RandCorruption):
    """Random masking that keeps a given share of an image's information and sets the rest to 0.

    Exactly this share of the blocks is kept, rounded to whole blocks and the same in every channel.

    Args:
        share: Share of the blocks to keep, 0 to 1.
        block: Side of the square blocks in pixels; 1 for single pixels.
        prob: Probability of corrupting an image.
    """

    def __init__(self, share: Range, block: int = 1, prob: float = 1.0) -> None:
        super().__init__(prob)
        self.share = _range("share", share, maximum=1.0)
        if block < 1:
            raise UsageProblem(f"block must be 1 or more pixels, but is {block}")
        self.block = block

    def _draw(self, picture: torch.Tensor) -> torch.Tensor:
        rows, columns = picture.shape[-2:]
        left = np.zeros((-(-rows // self.block), -(-columns // self.block)), dtype=np.float32)
        count = round(self.R.uniform(*self.share) * left.size)
        left.flat[self.R.permutation(left.size)[:count]] = 1.0
        pixels = left.repeat(self.block, axis=0).repeat(self.block, axis=1)[:rows, :columns]
        return torch.as_tensor(pixels, device=picture.device)

    def _applied(self, picture: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        return picture * drawn


class RandGaussianCorruption(_RandCorruption):
    """Additive Gaussian noise.

    Args:
        std: Standard deviation of the noise.
        prob: Probability of corrupting an image.
    """

    def __init__(self, std: Range = _STD, prob: float = 1.0) -> None:
        super().__init__(prob)
        self.std = _range("std", std)

    def _draw(self, picture: torch.Tensor) -> torch.Tensor:
        return self._normal(picture, self.R.uniform(*self.std))


class RandRicianCorruption(_RandCorruption):
    """Rician noise: the magnitude of the image after complex Gaussian noise, as in MR.

    Args:
        std: Standard deviation of the noise in each of the two channels of the receiver.
        prob: Probability of corrupting an image.
    """

    def __init__(self, std: Range = _STD, prob: float = 1.0) -> None:
        super().__init__(prob)
        self.std = _range("std", std)

    def _draw(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        std = self.R.uniform(*self.std)
        return self._normal(picture, std), self._normal(picture, std)

    def _applied(
        self, picture: torch.Tensor, drawn: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        real, imaginary = drawn
        return torch.hypot(picture + real, imaginary)


class RandPoissonGaussianCorruption(_RandCorruption):
    """Photon-counting noise plus the Gaussian noise of the electronics, as in CT and X-ray.

    Args:
        photons: Mean photon count where the image is 1; lower counts give more noise.
        std: Standard deviation of the Gaussian noise.
        prob: Probability of corrupting an image.
    """

    def __init__(
        self, photons: Range = _PHOTONS, std: Range = _ELECTRONIC_STD, prob: float = 1.0
    ) -> None:
        super().__init__(prob)
        self.photons = _range("photons", photons)
        if self.photons[0] <= 0:
            raise UsageProblem(f"photons must be above 0, but is {photons}")
        self.std = _range("std", std)

    def _draw(self, picture: torch.Tensor) -> torch.Tensor:
        photons = self.R.uniform(*self.photons)
        clean = picture.detach().cpu().numpy().clip(min=0.0)
        noise = self.R.poisson(clean * photons) / photons - clean
        electronic = self._normal(picture, self.R.uniform(*self.std))
        return electronic + torch.as_tensor(noise, dtype=torch.float32).to(picture.device)


class _RandCorruptiond(RandomizableTransform, MapTransform):
    """A corruption of all or none of the images in a dictionary, each with its own draw."""

    backend = _RandCorruption.backend

    def __init__(
        self,
        keys: KeysCollection,
        corruption: _RandCorruption,
        prob: float,
        allow_missing_keys: bool,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.corruption = corruption

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> _RandCorruptiond:
        """Set the random state of this transform and of its corruption."""
        super().set_random_state(seed, state)
        # Both share one stream: two streams with the same seed would draw the same numbers.
        self.corruption.set_random_state(state=self.R)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with the images `[C, H, W]` under its keys corrupted."""
        corrupted = dict(data)
        self.randomize(None)
        if self._do_transform:
            for key in self.key_iterator(corrupted):
                corrupted[key] = self.corruption(corrupted[key])
        return corrupted


class RandMaskCorruptiond(_RandCorruptiond):
    """Dictionary form of :class:`RandMaskCorruption`.

    Args:
        keys: Keys of the images to corrupt.
        share: Share of the blocks to keep, 0 to 1.
        block: Side of the square blocks in pixels; 1 for single pixels.
        prob: Probability of corrupting the images.
        allow_missing_keys: Whether to ignore missing keys instead of raising an error.
    """

    def __init__(
        self,
        keys: KeysCollection,
        share: Range,
        block: int = 1,
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandMaskCorruption(share, block), prob, allow_missing_keys)


class RandGaussianCorruptiond(_RandCorruptiond):
    """Dictionary form of :class:`RandGaussianCorruption`.

    Args:
        keys: Keys of the images to corrupt.
        std: Standard deviation of the noise.
        prob: Probability of corrupting the images.
        allow_missing_keys: Whether to ignore missing keys instead of raising an error.
    """

    def __init__(
        self,
        keys: KeysCollection,
        std: Range = _STD,
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandGaussianCorruption(std), prob, allow_missing_keys)


class RandRicianCorruptiond(_RandCorruptiond):
    """Dictionary form of :class:`RandRicianCorruption`.

    Args:
        keys: Keys of the images to corrupt.
        std: Standard deviation of the noise in each of the two channels of the receiver.
        prob: Probability of corrupting the images.
        allow_missing_keys: Whether to ignore missing keys instead of raising an error.
    """

    def __init__(
        self,
        keys: KeysCollection,
        std: Range = _STD,
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandRicianCorruption(std), prob, allow_missing_keys)


class RandPoissonGaussianCorruptiond(_RandCorruptiond):
    """Dictionary form of :class:`RandPoissonGaussianCorruption`.

    Args:
        keys: Keys of the images to corrupt.
        photons: Mean photon count where the image is 1; lower counts give more noise.
        std: Standard deviation of the Gaussian noise.
        prob: Probability of corrupting the images.
        allow_missing_keys: Whether to ignore missing keys instead of raising an error.
    """

    def __init__(
        self,
        keys: KeysCollection,
        photons: Range = _PHOTONS,
        std: Range = _ELECTRONIC_STD,
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        corruption = RandPoissonGaussianCorruption(photons, std)
        super().__init__(keys, corruption, prob, allow_missing_keys)


def _range(name: str, value: Range, maximum: float = np.inf) -> tuple[float, float]:
    """Check a range and return its two limits."""
    low, high = value if isinstance(value, tuple | list) else (value, value)
    if not 0.0 <= low <= high <= maximum:
        raise UsageProblem(
            f"{name} must be one value, or two with the smaller first, "
            f"from 0 to {maximum}, but is {value}"
        )
    return float(low), float(high)


RandMaskCorruptionD = RandMaskCorruptionDict = RandMaskCorruptiond
RandGaussianCorruptionD = RandGaussianCorruptionDict = RandGaussianCorruptiond
RandRicianCorruptionD = RandRicianCorruptionDict = RandRicianCorruptiond
RandPoissonGaussianCorruptionD = RandPoissonGaussianCorruptionDict = RandPoissonGaussianCorruptiond
