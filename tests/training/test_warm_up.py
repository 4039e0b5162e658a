"""The KL term is weighted slowly enough, however short a training is."""

from __future__ import annotations

import pytest
from monai.bundle import ConfigParser

from medvae.models import find_bundle


def loss_of(*configs: str, **settings: int) -> tuple[str, int]:
    """Return the class of the loss of a training, and the steps of its warm-up."""
    parser = ConfigParser()
    folder = find_bundle("slice_vae") / "configs"
    parser.read_config([str(folder / f"{name}.json") for name in ("train", *configs)])
    for name, value in settings.items():
        parser[name] = value
    loss = parser.get_parsed_content("loss")
    return type(loss).__name__, loss.warm_up_steps


@pytest.mark.parametrize(
    ("steps", "warm_up"), [(9, 4), (220, 110), (1000, 400), (2000, 400), (5000, 1000)]
)
def test_it_takes_half_of_a_short_training_and_a_fifth_of_a_long_one(
    steps: int, warm_up: int
) -> None:
    assert loss_of(steps=steps) == ("CalibratedLoss", warm_up)


def test_steps_of_an_accumulated_batch_count_as_one() -> None:
    assert loss_of(steps=4000, accumulation=4) == ("CalibratedLoss", 1600)


def test_the_published_loss_has_none() -> None:
    assert loss_of("published", steps=220) == ("PublishedLoss", 0)
