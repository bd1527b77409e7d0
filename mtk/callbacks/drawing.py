"""What TensorBoard shows beyond curves: the layout of charts, and a matrix as a picture."""

from collections.abc import Sequence

import numpy as np
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import summary as custom_scalars

_PICTURE = 480  # pixels, about
_CHARTS = {
    "Losses": "^loss/",
    "Weights": "^weight/",
    "Gradient norms": "^gradient_norm/",
    "Cosines": "^cosine/",
}


def layout(cosines: bool = True) -> bytes:
    """Returns the summary that gives the tab "Custom scalars" a chart for all tasks.

    Args:
        cosines: Whether there are curves of cosines.
    """
    shown = {title: pattern for title, pattern in _CHARTS.items() if cosines or title != "Cosines"}
    charts = [
        layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=[pattern]))
        for title, pattern in shown.items()
    ]
    category = layout_pb2.Category(title="All tasks", chart=charts)
    return custom_scalars.pb(layout_pb2.Layout(category=[category])).SerializeToString()


def legend(names: Sequence[str]) -> str:
    """Returns what a picture of `heat_map` shows, in Markdown."""
    tasks = ", ".join(f"`{name}`" for name in names)
    return f"Rows from above and columns from the left: {tasks}. Red: -1, white: 0, blue: 1."


def heat_map(cosines: np.ndarray) -> np.ndarray:
    """Draws cosines: red at -1, white at 0, blue at 1, grey where undefined.

    Args:
        cosines: Array `(K, K)` of values in -1 ... 1 or NaN.

    Returns:
        Picture `(height, width, 3)`, uint8, first task in the upper left corner.
    """
    values = np.clip(np.nan_to_num(cosines), -1.0, 1.0)
    fade = 1.0 - np.abs(values)
    red = np.where(values > 0, fade, 1.0)
    blue = np.where(values < 0, fade, 1.0)
    picture = np.stack([red, fade, blue], axis=-1)
    picture[np.isnan(cosines)] = 0.5
    size = max(4, _PICTURE // len(cosines))
    return np.rint(255 * picture).astype(np.uint8).repeat(size, axis=0).repeat(size, axis=1)
