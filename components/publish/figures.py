"""The report's charts, as SVG whose colours are the page's CSS variables."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

# Matplotlib writes these; the page replaces them by variables, so one chart serves light and dark.
_VARIABLES = {
    "ink": "#000001",
    "muted": "#000002",
    "line": "#000003",
    "blue": "#000011",
    "orange": "#000012",
    "green": "#000013",
    "violet": "#000014",
    "red": "#000015",
    "sand": "#000016",
    "slate": "#000017",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "rapid",
    "font.size": 9,
    "text.color": _VARIABLES["ink"],
    "axes.labelcolor": _VARIABLES["muted"],
    "axes.edgecolor": _VARIABLES["line"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": _VARIABLES["line"],
    "grid.linewidth": 0.7,
    "xtick.color": _VARIABLES["muted"],
    "ytick.color": _VARIABLES["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 1.4,
}
PART_COLOURS = {
    "sampling": "blue",
    "updating": "green",
    "reward": "violet",
    "load": "orange",
    "start": "sand",
    "store": "red",
    "other": "slate",
}
WIDTH, HEIGHT = 5.6, 2.9


@dataclass(frozen=True)
class Series:
    """A line of a chart; `x` and `y` are equally long."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    dashed: bool = False
    markers: bool = True
    """Dots on the points, where there are few."""


def lines(
    title: str, series: Sequence[Series], x_label: str, boundaries: Sequence[float] = (), whole_steps: bool = True
) -> str:
    """Draw lines over a common axis, with vertical rules at `boundaries`; few points get markers."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes()
        for boundary in boundaries:
            axes.axvline(boundary, color=_VARIABLES["line"], linewidth=0.9, linestyle=(0, (2, 3)))
        for one in series:
            axes.plot(
                one.x,
                one.y,
                label=one.label,
                color=_VARIABLES[one.colour],
                linestyle=(0, (4, 2)) if one.dashed else "solid",
                linewidth=1.6,
                marker="o" if len(one.x) <= 20 and one.markers else None,
                markersize=4,
            )
        values = [value for one in series for value in one.y]
        if values and min(values) >= 0:
            # Shares are shown against the whole of what is possible, anything else from zero.
            axes.set_ylim(0, 1.04 if 0.2 < max(values) <= 1 else (max(values) or 1) * 1.1)
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=whole_steps))
        _legend(axes, len(series))
        return _svg(figure, title)


def time_bars(title: str, iterations: Sequence[int], parts: Sequence[dict[str, float]], shares: Sequence[float]) -> str:
    """Draw one bar per iteration, divided by what its seconds were spent on, with the compute share at its end."""
    with mpl.rc_context({**_STYLE, "axes.grid.axis": "x"}):
        figure, axes = _axes(2 * WIDTH, 0.9 + 0.32 * len(iterations))
        left = np.zeros(len(iterations))
        rows = np.arange(len(iterations))
        for name, colour in PART_COLOURS.items():
            seconds = np.array([part[name] for part in parts])
            axes.barh(rows, seconds, left=left, height=0.62, color=_VARIABLES[colour], label=name)
            left += seconds
        for row, share in enumerate(shares):
            axes.text(left[row] + 0.008 * left.max(), row, f"{share:.0%} compute", va="center")
        axes.set_xlim(0, left.max() * 1.12)
        axes.set_yticks(rows, [f"iteration {number}" for number in iterations])
        axes.invert_yaxis()
        axes.set_xlabel("seconds")
        _legend(axes, len(PART_COLOURS), columns=len(PART_COLOURS))
        return _svg(figure, title)


def length_histogram(
    title: str, lengths: Sequence[tuple[str, NDArray[np.int64]]], colours: Sequence[str] = ("slate", "blue")
) -> str:
    """Draw distributions of completion lengths over common bins, as shares of the completions."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(2 * WIDTH, 2.6)
        longest = max(int(values.max()) for _, values in lengths)
        bins = np.linspace(0.5, longest + 0.5, min(longest, 40) + 1).tolist()
        for (label, values), colour in zip(lengths, colours[-len(lengths) :], strict=True):
            weights = np.full(len(values), 1 / len(values))
            axes.hist(values, bins, weights=weights, color=_VARIABLES[colour], alpha=0.35, label=label)
            axes.hist(values, bins, weights=weights, histtype="step", color=_VARIABLES[colour], linewidth=1.4)
        axes.set_xlabel("completion tokens")
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        _legend(axes, len(lengths))
        return _svg(figure, title)


def _axes(width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.yaxis.set_major_locator(MaxNLocator(5))
    return figure, axes


def _legend(axes: Axes, entries: int, columns: int = 4) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=min(entries, columns),
        borderaxespad=0.1,
        columnspacing=1.4,
        handletextpad=0.5,
    )


def _svg(figure: Figure, title: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg [^>]*?)\swidth="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg [^>]*?)\sheight="[^"]*"', rf'\1 role="img" aria-label="{title}"', text, count=1)
    for name, colour in _VARIABLES.items():
        text = text.replace(colour, f"var(--{name})")
    return text
