"""Transforms that move an image, its masks and its boxes to a neighbour in the latent space."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection, NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import MapTransform, RandomizableTransform
from monai.utils.misc import ensure_tuple
from monai.utils.type_conversion import convert_to_tensor
from numpy.typing import NDArray
from torch import Tensor

from medvae.errors import UsageProblem
from medvae.latent import SAMPLERS, make_sampler
from medvae.randomness import generator
from medvae.records import Labels, Pixels, Slice
from medvae.render import Rendered, make_render
from medvae.transforms._marks import Marks, boxes_like, like, numbers_of
from medvae.transforms._model import SliceModel
from medvae.transforms._plane import Plane
from medvae.transforms._trace import Traced


class Neighbor(NamedTuple):
    """An image with its masks and boxes.

    Attributes:
        image: Image ``[1, H, W]``.
        masks: Label maps ``[C, H, W]``.
        boxes: Sets of boxes ``[N, 4]``.
    """

    image: Tensor
    masks: tuple[Any, ...]
    boxes: tuple[Any, ...]


class RandLatentNeighbor(Traced):
    """Random change of an image to a neighbour in the latent space of a model.

    A latent near the image's own is drawn, and the native pixels change as the decoded image does;
    the decoder's output itself is not shown unless ``decode`` is requested. Put this transform
    first after loading, while values are still in the units of the file, such as HU. It runs on the
    CPU, and on a single thread in a data loader's worker.

    Args:
        model: Folder of a trained bundle; each process opens it on first use.
        sampler: Sampler of latents: ``gaussian``, ``posterior``, ``prior``, or directions as in
            ``direction:1,3``.
        strength: Distance from the image's own latent; at 0 the image stays exactly as it is.
        render: Chain of renders, such as ``warp+residual``.
        prob: Probability of changing an image.
        modality: Modality of the images, for a model that was trained on several.
        rows_first: Whether the first spatial axis counts the rows. By default the affine tells; if
            there is none, images that MONAI loaded from PNG or similar files have columns first,
            and arrays have rows first.

    Raises:
        UsageProblem: An argument is invalid.
    """

    def __init__(
        self,
        model: str | Path,
        sampler: str = "gaussian",
        strength: float = 0.5,
        render: str = "warp",
        prob: float = 0.5,
        modality: str | None = None,
        rows_first: bool | None = None,
    ) -> None:
        super().__init__(prob)
        _check(sampler, strength)
        self.strength = strength
        self.modality = modality
        self.rows_first = rows_first
        self._model = SliceModel(model)
        self._sampler = sampler
        self._render = make_render(render)

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> Tensor:
        """Return the image, ``[1, H, W]`` float32, with its metadata.

        Args:
            img: Image ``[1, H, W]``.
            randomize: Whether to draw again; if False, the last draw is reused.
        """
        return self.with_marks(img, randomize=randomize).image

    def with_marks(
        self,
        img: NdarrayOrTensor,
        masks: Sequence[NdarrayOrTensor] = (),
        boxes: Sequence[NdarrayOrTensor] = (),
        randomize: bool = True,
    ) -> Neighbor:
        """Return an image with its masks and boxes, all moved by the same displacement field.

        A draw that would remove a box or a label of a mask is not applied.

        Args:
            img: Image ``[1, H, W]``.
            masks: Label maps ``[C, H, W]``; a pixel gets a label that covers at least half of it.
            boxes: Boxes ``[N, 4]`` in MONAI's ``StandardMode``. A box that a piece of a mask fills
                is measured again on the moved piece; others enclose the moved inscribed ellipse.
            randomize: Whether to draw again; if False, the last draw is reused.

        Raises:
            UsageProblem: An input has the wrong shape, or the model does not fit.
        """
        track_meta = get_track_meta()
        picture: Tensor = convert_to_tensor(img, dtype=torch.float32, track_meta=track_meta)
        if picture.dim() != 3 or len(picture) != 1:
            raise UsageProblem(f"a picture must be [1, H, W], but is {list(picture.shape)}")
        if randomize:
            self.randomize()
        given = [numbers_of(one) for one in boxes]
        drawn = self._drawn(picture, masks, given) if self._do_transform else None
        image, maps, sets = drawn or (picture, masks, given)
        moved = drawn is not None and not self._render.preserves_locations
        tensors = [like(new, old) for new, old in zip(maps, masks, strict=True)]
        return Neighbor(
            self._trace(like(image, picture), moved),
            tuple(self._trace(convert_to_tensor(m, track_meta=track_meta), moved) for m in tensors),
            tuple(
                self._trace(boxes_like(new, old), moved)
                for new, old in zip(sets, boxes, strict=True)
            ),
        )

    def _drawn(
        self,
        picture: Tensor,
        masks: Sequence[NdarrayOrTensor],
        boxes: Sequence[NDArray[np.float64]],
    ) -> tuple[NDArray[np.float32], Sequence[NDArray[Any]], Sequence[NDArray[np.float64]]] | None:
        """Apply the last draw; return None if a mask label or a box would be lost."""
        plane = Plane.of(picture, self.rows_first)
        maps = [torch.as_tensor(mask).cpu().numpy() for mask in masks]
        for labels in maps:
            if labels.shape[1:] != picture.shape[1:]:
                raise UsageProblem(
                    f"a mask must be [C, H, W] as large as its picture, {list(picture.shape)}, "
                    f"but is {list(labels.shape)}"
                )
        marks = Marks(tuple(map(plane.turned, maps)), tuple(map(plane.turned_boxes, boxes)))
        values = plane.turned(picture[0].cpu().numpy())
        rendered = self._rendered(values, marks.labels, plane)
        moved = marks.moved(rendered.labels)
        if moved is None:
            return None
        return (
            plane.turned(rendered.values)[None],
            [plane.turned(labels) for labels in moved.maps],
            [plane.turned_boxes(one) for one in moved.boxes],
        )

    def _rendered(self, values: NDArray[np.float32], labels: Labels, plane: Plane) -> Rendered:
        model, pixels = self._model, Pixels(values, values)
        modality = model.modality(self.modality)
        native = Slice.in_memory(pixels, modality=modality, geometry=plane.geometry, labels=labels)
        scene = model.scene(native, pixels)
        own = model.latents(native, scene)
        sampler = make_sampler(self._sampler, model.statistics)
        z = sampler.sample(own, [self.strength], [generator(self._seed, "latent")]).z
        decode = model.codec.decode
        (rendered,) = self._render.render([scene], decode(own.mu), decode(z))
        return rendered


class RandLatentNeighbord(RandomizableTransform, MapTransform, InvertibleTransform):
    """Dictionary form of :class:`RandLatentNeighbor`.

    Args:
        image_key: Key of the image ``[1, H, W]``.
        model: Folder of a trained bundle.
        mask_keys: Keys of label maps ``[C, H, W]`` that move with it.
        box_keys: Keys of boxes ``[N, 4]`` in MONAI's ``StandardMode`` that move with it.
        sampler: Sampler of latents.
        strength: Distance from the image's own latent.
        render: Chain of renders, such as ``warp+residual``.
        prob: Probability of changing an image.
        modality: Modality of the images, for a model that was trained on several.
        rows_first: Whether the first spatial axis counts the rows, for images whose affine does not
            tell.
        allow_missing_keys: Whether to ignore missing keys instead of raising an error.

    Raises:
        UsageProblem: An argument is invalid.
    """

    backend = RandLatentNeighbor.backend

    def __init__(
        self,
        image_key: Hashable,
        model: str | Path,
        mask_keys: KeysCollection = (),
        box_keys: KeysCollection = (),
        sampler: str = "gaussian",
        strength: float = 0.5,
        render: str = "warp",
        prob: float = 0.5,
        modality: str | None = None,
        rows_first: bool | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        self.image_key = image_key
        self.mask_keys: tuple[Hashable, ...] = ensure_tuple(mask_keys)
        self.box_keys: tuple[Hashable, ...] = ensure_tuple(box_keys)
        keys = (image_key, *self.mask_keys, *self.box_keys)
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.neighbor = RandLatentNeighbor(
            model, sampler, strength, render, prob, modality, rows_first
        )

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandLatentNeighbord:
        """Set the random state of this transform and of its array transform."""
        super().set_random_state(seed, state)
        self.neighbor.set_random_state(state=self.R)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw with the array transform."""
        self.neighbor.randomize()
        self._do_transform = self.neighbor._do_transform

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with the image, its masks and its boxes transformed."""
        changed = dict(data)
        there = list(self.key_iterator(changed))
        if self.image_key not in there:
            return changed
        masks = [key for key in self.mask_keys if key in there]
        boxes = [key for key in self.box_keys if key in there]
        self.randomize()
        image, maps, sets = self.neighbor.with_marks(
            changed[self.image_key],
            [changed[key] for key in masks],
            [changed[key] for key in boxes],
            randomize=False,
        )
        changed[self.image_key] = image
        changed.update(zip(masks + boxes, maps + sets, strict=True))
        return changed

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Remove the trace of this transform from the tensors.

        Raises:
            UsageProblem: The contents of the image were moved.
        """
        undone = dict(data)
        for key in self.key_iterator(undone):
            undone[key] = self.neighbor.inverse(undone[key])
        return undone


def _check(sampler: str, strength: float) -> None:
    name = sampler.partition(":")[0]
    # The patient of an image is unknown here, so it has no neighbours of other patients.
    if name not in SAMPLERS or SAMPLERS[name].needs_others:
        alone = (
            known.example or known.name for known in SAMPLERS.values() if not known.needs_others
        )
        raise UsageProblem(
            f"sampler {sampler!r}: cannot draw near a picture alone; choose from {', '.join(alone)}"
        )
    SAMPLERS[name].check_strength(strength)


RandLatentNeighborD = RandLatentNeighborDict = RandLatentNeighbord
