"""Labels of street scenes: CityScapes' label ids, its seven categories, their colors."""

import numpy as np

CATEGORIES = ("flat", "construction", "object", "nature", "sky", "human", "vehicle")
VOID = -1  # no category: not labelled, or not part of the scene

# The color of the most common class in each category: road, building, pole, vegetation, sky, person
# and car.
COLOURS = np.array(
    [
        (128, 64, 128),
        (70, 70, 70),
        (153, 153, 153),
        (107, 142, 35),
        (70, 130, 180),
        (220, 20, 60),
        (0, 0, 142),
    ],
    np.uint8,
)

# The first label id of each category; void precedes them all. The last id is 33, bicycle.
_FIRST = (7, 11, 17, 21, 23, 24, 26)
_NUMBER = 34


def _category_of_id() -> np.ndarray:
    """Returns int8 `(34,)`: the category of each label id."""
    return (np.searchsorted(_FIRST, np.arange(_NUMBER), side="right") - 1).astype(np.int8)


_CATEGORY = _category_of_id()


def categories(label_ids: np.ndarray) -> np.ndarray:
    """Maps label ids to categories.

    All ids of a category count, including those that the official evaluation by classes ignores
    (parking, rail track, guard rail, bridge, tunnel, group of poles, caravan, trailer).

    Args:
        label_ids: uint8, as in the files `*_labelIds.png`.

    Returns:
        int8 of the same shape: indices into `CATEGORIES`, or `VOID`.

    Raises:
        ValueError: If there is an id that is not one of CityScapes'.

    Reference:
        Cordts et al., *The Cityscapes dataset for semantic urban scene understanding* (2016),
        figure 1, and the table of labels in the official scripts.
    """
    wrong = label_ids[label_ids >= _NUMBER]
    if wrong.size:
        raise ValueError(f"label ids must lie in 0 ... {_NUMBER - 1}. Received: {int(wrong[0])}")
    return _CATEGORY[label_ids]
