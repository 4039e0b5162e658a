"""Renders by name, and chains of renders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from medvae.errors import UsageProblem
from medvae.render._contract import Render, Rendered, Scene
from medvae.render._decode import Decode
from medvae.render._residual import Residual
from medvae.render._warp import Warp

RENDERS: dict[str, type[Render]] = {render.name: render for render in (Decode, Residual, Warp)}
"""Renders that are guided by two decoded images, by the name that a user gives."""


def make_render(spec: str, others: Sequence[str] = ()) -> Render:
    """Return the render that a user asks for.

    Args:
        spec: Name in ``RENDERS``, or several in the order in which they are applied, as in
            ``warp+residual``. ``transplant`` is not among them, as it takes a donor: a caller
            that reads ``transplant+warp`` splits it off and renders its result with the rest.
        others: Names that the caller knows besides, for the error message.

    Raises:
        UsageProblem: If a name is unknown, missing or repeated.
    """
    names = spec.split("+")
    unknown = [name for name in names if name not in RENDERS]
    if unknown or len(set(names)) < len(names):
        wrong = f"unknown render {unknown[0]!r}" if unknown else f"{spec!r} repeats a render"
        raise UsageProblem(
            f"{wrong}; choose from {', '.join((*others, *RENDERS))}, or several as in "
            "warp+residual",
            parameter="render",
        )
    steps = [RENDERS[name]() for name in names]
    return steps[0] if len(steps) == 1 else _Chain(steps)


class _Chain(Render):
    """A chain of renders, each applied to the previous result and guided by the remaining change.

    After `warp`, `residual` adds the whole difference that the warp could not explain, fine detail
    included, except for the broad part of it that the warp kept out of air and background.
    """

    def __init__(self, steps: Sequence[Render]) -> None:
        self._steps = steps
        self.name = "+".join(step.name for step in steps)
        self.preserves_locations = all(step.preserves_locations for step in steps)

    def render(self, scenes: Sequence[Scene], before: Tensor, after: Tensor) -> list[Rendered]:
        first, *others = self._steps
        rendered = first.render(scenes, before, after)
        for step in others:
            before = torch.stack(
                [
                    picture if made.decoded is None else made.decoded()
                    for made, picture in zip(rendered, after.float(), strict=True)
                ]
            )
            moved = [scene.changed(made) for scene, made in zip(scenes, rendered, strict=True)]
            rendered = [
                replace(new, numbers={**old.numbers, **new.numbers})
                for old, new in zip(rendered, step.render(moved, before, after), strict=True)
            ]
        return rendered
