"""TensorBoard content other than curves: the layout of charts, and images of matrices."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalars

_PICTURE = 480  # pixels, about
_KEY = 24  # height of the key below it
_FONT = 14
_CHARTS = {"Losses": "loss", "Weights": "weight", "Gradient norms": "gradient_norm"}


def layout(few_tasks: bool = True, metrics: Sequence[str] = ()) -> bytes:
    """Returns the summary that defines charts of all tasks in the tab "Custom scalars".

    Args:
        few_tasks: Whether each task has a run, and thus a colour, of its own, and each pair of
            tasks has a curve of its cosine.
        metrics: Names of the tasks' metrics, each of which has a chart in a separate panel.
    """

    def pattern(name: str) -> str:
        own = f"^by_task/((validation|test)_)?{re.escape(name)}$"
        return own if few_tasks else f"^{re.escape(name)}/"

    shown = {title: pattern(name) for title, name in _CHARTS.items()}
    panels = [_panel("All tasks", shown | ({"Cosines": "^cosine/"} if few_tasks else {}))]
    if metrics:
        panels.append(_panel("Metrics", {name: pattern(name) for name in metrics}))
    return custom_scalars.pb(layout_pb2.Layout(category=panels)).SerializeToString()


def _panel(title: str, charts: Mapping[str, str]) -> layout_pb2.Category:
    """Returns a panel of charts, given as patterns of curves by title."""
    made = [
        layout_pb2.Chart(title=name, multiline=layout_pb2.MultilineChartContent(tag=[pattern]))
        for name, pattern in charts.items()
    ]
    return layout_pb2.Category(title=title, chart=made)


def legend(names: Sequence[str]) -> str:
    """Returns the legend of a `heat_map` image, in Markdown."""
    tasks = ", ".join(f"`{name}`" for name in names)
    return f"Rows (top to bottom) and columns (left to right): {tasks}. Red: -1, white: 0, blue: 1."


def heat_map(cosines: np.ndarray) -> np.ndarray:
    """Draws cosines: red at -1, white at 0, blue at 1, grey where undefined.

    Args:
        cosines: Array `(K, K)` of values from -1 to 1, or NaN.

    Returns:
        Image `(height, width, 3)`, uint8, with the first task in the upper left corner and a colour
        key below.
    """
    picture = _colours(cosines)
    size = max(4, _PICTURE // len(cosines))
    drawn = np.rint(255 * picture).astype(np.uint8).repeat(size, axis=0).repeat(size, axis=1)
    return np.concatenate([drawn, _key(drawn.shape[1])])


def _colours(cosines: np.ndarray) -> np.ndarray:
    """Returns `(height, width, 3)`, the colours of cosines from 0 to 1."""
    values = np.clip(np.nan_to_num(cosines), -1.0, 1.0)
    fade = 1.0 - np.abs(values)
    red = np.where(values > 0, fade, 1.0)
    blue = np.where(values < 0, fade, 1.0)
    picture = np.stack([red, fade, blue], axis=-1)
    picture[np.isnan(cosines)] = 0.5
    return picture


def _key(width: int) -> np.ndarray:
    """Returns a colour bar from -1 to 1."""
    strip = _colours(np.linspace(-1, 1, width)[None]).repeat(_KEY, axis=0)
    image = Image.fromarray(np.rint(255 * strip).astype(np.uint8))
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(_FONT)
    for x, text, anchor in ((4, "-1", "lm"), (width // 2, "0", "mm"), (width - 4, "1", "rm")):
        pen.text(
            (x, _KEY // 2), text, fill="black" if text == "0" else "white", font=font, anchor=anchor
        )
    return np.asarray(image)
