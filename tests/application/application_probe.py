"""Classes and functions that the tests of the configuration configure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import keras

HEAD = "from __gin__ import dynamic_registration\nimport application_probe as probe\n"
BASE = f"{HEAD}probe.drive.engine = @probe.Engine\nprobe.drive.road = 'A1'\n"


class Engine:
    def __init__(self, power: float = 1.0, fuel: Literal["gas", "coal"] = "gas", horses: int = 2):
        if power > 100:
            raise ValueError("An engine has at most 100 of power.")
        if horses == 0:
            raise ValueError("Nothing to ride on.")
        self.power, self.fuel = power, fuel


def drive(
    engine: Callable[[], Engine],
    road: str,
    stops: int | None = None,
    names: Sequence[str] = (),
    loads: Mapping[str, float] | None = None,
    fast: bool = False,
    size: tuple[int, int] = (1, 1),
) -> dict:
    if stops is not None and stops < 0:
        raise ValueError(f"A drive has no stops or more. Received: stops={stops}")
    made = engine()
    if "closed" in names:
        raise ValueError(f"The road {size} is closed.")
    if made.fuel in names:
        raise ValueError(f"No {made.fuel!r} on this road.")
    return {"engine": made, "road": road, "stops": stops, "names": names, "fast": fast}


def learn(optimizer: Callable[..., keras.optimizers.Optimizer]) -> keras.optimizers.Optimizer:
    return optimizer(learning_rate=0.25)
