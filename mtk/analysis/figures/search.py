"""What a method reaches for a given cost of the search."""

from matplotlib.figure import Figure

from mtk.analysis.compute import search_curve
from mtk.analysis.figures.style import UnavailableError, figure, legend_below, look
from mtk.analysis.leading import scale_of
from mtk.analysis.view import STATIC, View


def draw(view: View, space: str = "loss") -> Figure:
    """Draws the mean over tasks that a random search reaches, over what it costs."""
    if space not in view.spaces or not len(static := view.candidates(STATIC, space)):
        raise UnavailableError("there are no static weights to compare with")
    if view.table["cost"].isna().all():
        raise UnavailableError("no throughput was recorded, and no costs were given")
    unit = view.runs(STATIC)["cost"].median()
    scale = scale_of(static)
    drawn = figure(7.2, 4.8)
    axis = drawn.subplots()
    for name in [STATIC, *view.methods]:
        models, cost = view.candidates(name, space), view.runs(name)["cost"].median()
        if not len(models) or not cost > 0:
            continue
        curve = search_curve(models.average(scale), cost / unit)
        style = look(name, view.methods)
        axis.plot(
            curve.cost, curve.mean, label=name, ms=5, markevery=max(1, len(models) // 8), **style
        )
        axis.fill_between(curve.cost, curve.low, curve.high, color=style["color"], alpha=0.08, lw=0)
    axis.set_xscale("log")
    axis.set_xlabel("compute spent, in runs of static weights")
    axis.set_ylabel(f"mean {space} over tasks, test,\nin widths of the static front (less: better)")
    handles, labels = axis.get_legend_handles_labels()
    legend_below(drawn, handles, labels)
    drawn.suptitle(f"{view.title}: best in validation so far, random orders (band: 10 to 90 %)")
    return drawn
