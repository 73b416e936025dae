"""Figures as SVG, drawn on the server, most by Vega-Lite. Colours are the page's own tokens, so both themes fit."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from markupsafe import Markup, escape

# Vega takes no CSS variables, so it draws in stand-ins that become the tokens of the page afterwards.
TOKENS = {
    "#010101": "var(--ink)",
    "#020202": "var(--ink-2)",
    "#030303": "var(--line)",
    "#040404": "var(--accent)",
    "#050505": "var(--warn)",
}
INK, QUIET, RULE, ACCENT, SECOND = TOKENS
FONT = "system-ui, sans-serif"


def loss_curve(metrics: Sequence[Mapping[str, Any]], title: str) -> Markup:
    """Draw training loss, and evaluation loss where there is any, over the steps of a run.

    `metrics` are the objects of metrics.jsonl: "step" and "loss" or "eval_loss", in nats per token, or of
    preferences in nats per row. Empty markup where there are fewer than two points.
    """
    unit = "row" if any("rewards/chosen" in row or "rewards/rejected" in row for row in metrics) else "token"
    return step_lines(metrics, {"loss": "training", "eval_loss": "validation"}, title, f"loss, nats per {unit}")


def reward_curve(metrics: Sequence[Mapping[str, Any]], title: str) -> Markup:
    """Draw the rewards of better and worse answers over the steps of a run that learnt from preferences.

    A reward is by how much an answer became likelier than the base has it, times beta. Empty markup for other runs.
    """
    return step_lines(metrics, {"rewards/chosen": "better answers", "rewards/rejected": "worse"}, title, "reward")


def step_lines(metrics: Sequence[Mapping[str, Any]], names: Mapping[str, str], title: str, unit: str) -> Markup:
    """Draw one or two numbers of metrics.jsonl over the steps; empty markup where there are fewer than two points."""
    points = [
        {"step": row["step"], "value": row[key], "series": series}
        for row in metrics
        for key, series in names.items()
        if isinstance(row.get(key), int | float) and abs(row[key]) < 1e6
    ]
    if len(points) < 2:
        return Markup("")
    series = [name for name in names.values() if any(p["series"] == name for p in points)]
    ends = {name: [p["value"] for p in points if p["series"] == name] for name in series}
    spoken = "; ".join(f"{name} from {values[0]:.2f} to {values[-1]:.2f}" for name, values in ends.items())
    axis = {"titleFontWeight": "normal", "tickCount": 5}
    spec = {
        "width": 640,
        "height": 220,
        "data": {"values": points},
        "mark": {"type": "line", "strokeWidth": 2, "interpolate": "linear"},
        "encoding": {
            "x": {"field": "step", "type": "quantitative", "title": "step", "axis": axis | {"grid": False}},
            "y": {
                "field": "value", "type": "quantitative", "title": unit,
                "scale": {"zero": False}, "axis": axis,
            },
            "color": {
                "field": "series", "type": "nominal", "title": None,
                "scale": {"domain": series, "range": [ACCENT, SECOND][: len(series)]},
                "legend": {"orient": "top"},
            },
            # Colour is never the only sign.
            "strokeDash": {
                "field": "series", "type": "nominal", "legend": None,
                "scale": {"domain": series, "range": [[1, 0], [5, 3]][: len(series)]},
            },
        },
    }  # fmt: skip
    return curve(spec, title, spoken)


def rate_curve(found: Mapping[str, Any], used: float | None, title: str) -> Markup:
    """Draw the smoothed loss over the learning rates that were tried, with the suggested one marked, and the used one.

    `found` is the content of lr.json. Empty markup where it holds no curve.
    """
    rates, losses, suggestion = found.get("rates"), found.get("smoothed"), found.get("suggestion")
    if not isinstance(rates, list) or not isinstance(losses, list) or suggestion is None or not is_positive(suggestion):
        return Markup("")
    pairs = zip(rates, losses, strict=False)
    points = [{"rate": rate, "loss": loss} for rate, loss in pairs if is_positive(rate) and is_positive(loss)]
    if len(points) < 2:
        return Markup("")
    lowest = min(points, key=lambda point: point["loss"])
    spoken = (
        f"Loss {points[0]['loss']:.2f} at a rate of {points[0]['rate']:.2g}, lowest with {lowest['loss']:.2f} at "
        f"{lowest['rate']:.2g}. Suggested: {suggestion:.2g}."
    )
    marks = [{"rate": suggestion, "said": f"suggested {suggestion:.2g}", "series": "suggested"}]
    if used and is_positive(used) and abs(math.log(used / suggestion)) > 0.01:
        spoken += f" Trained with: {used:.2g}."
        marks.append({"rate": used, "said": f"trained with {used:.2g}", "series": "used"})
    highest = max(point["loss"] for point in points)
    for line, mark in enumerate(marks):  # below each other, and away from each other, as the rates may be close
        is_left = len(marks) > 1 and mark["rate"] == min(one["rate"] for one in marks)
        mark |= {"side": "right" if is_left else "left", "off": -6 if is_left else 6}
        mark["at"] = highest - 0.08 * line * (highest - lowest["loss"])
    powers = range(math.floor(math.log10(points[0]["rate"])), math.ceil(math.log10(points[-1]["rate"])) + 1)
    axis = {"titleFontWeight": "normal", "grid": False, "format": "~g", "labelOverlap": "greedy"}
    axis["values"] = [10.0**power for power in powers]
    x = {"field": "rate", "type": "quantitative", "title": "learning rate", "scale": {"type": "log"}, "axis": axis}
    y = {"type": "quantitative", "title": "loss, smoothed", "scale": {"zero": False}}
    dashes = {"field": "series", "legend": None, "scale": {"domain": ["suggested", "used"], "range": [[5, 3], [2, 3]]}}
    y["axis"] = {"titleFontWeight": "normal", "tickCount": 5}
    spec = {
        "width": 640,
        "height": 220,
        "layer": [
            {
                "data": {"values": points},
                "mark": {"type": "line", "strokeWidth": 2, "color": ACCENT},
                "encoding": {"x": x, "y": y | {"field": "loss"}},
            },
            {
                "data": {"values": marks},
                "mark": {"type": "rule", "strokeWidth": 1.5, "color": SECOND},
                "encoding": {"x": x, "strokeDash": dashes},
            },
            {
                "data": {"values": marks},
                "mark": {
                    "type": "text", "align": {"expr": "datum.side"}, "dx": {"expr": "datum.off"}, "color": INK,
                    "fontSize": 12, "font": FONT,
                },
                "encoding": {"x": x, "y": y | {"field": "at"}, "text": {"field": "said"}},
            },
        ],
    }  # fmt: skip
    return curve(spec, title, spoken)


def curve(spec: dict[str, Any], title: str, description: str) -> Markup:
    """Draw lines wide and narrow; the style sheet shows the one whose labels can be read where the figure stands."""
    narrow = spec | {"width": 340, "height": 200}
    wide_one, narrow_one = (once_drawn(json.dumps(each), title, description) for each in (spec, narrow))
    return Markup(wide_one + narrow_one.replace('class="figure"', 'class="figure narrow"', 1))


def is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and 0 < value < 1e6


def spark_line(losses: Sequence[float]) -> Markup:
    """Draw how the loss of one line fell, pass by pass, and say it in words. Empty markup below two passes.

    By hand: a page shows twenty of them. The floor is a loss of 0, so that what was not learnt stays high.
    """
    if len(losses) < 2:
        return Markup("")
    most = max(*losses, 1e-9)
    across = 60 / (len(losses) - 1)
    points = " ".join(f"{n * across:.1f},{19 - 18 * max(loss, 0) / most:.1f}" for n, loss in enumerate(losses))
    said = f"Loss from {losses[0]:.2f} to {losses[-1]:.2f} in {len(losses)} passes"
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="spark" role="img" viewBox="-1 0 62 20"><title>{said}</title>'
        f'<polyline points="{points}"/></svg>'
    )


class Bar(NamedTuple):
    """A bar: what stands below it, how high it is, the same in words, and what opens when it is pressed."""

    label: str
    number: int
    said: str
    href: str = ""
    series: str = ""


def bars(some: Sequence[Bar], title: str, unit: str) -> Markup:
    """Draw bars that are links, side by side where they are of several series. Empty markup without any."""
    if not any(bar.number for bar in some):
        return Markup("")
    series = list(dict.fromkeys(bar.series for bar in some))
    highest = max(some, key=lambda bar: bar.number)
    values = [bar._asdict() | {"href": f"{NOWHERE}{bar.href}" if bar.href else None} for bar in some]
    encoding: dict[str, Any] = {
        "x": {
            "field": "label", "type": "ordinal", "sort": None, "title": unit,
            "axis": {"labelAngle": 0, "labelOverlap": "greedy", "labelSeparation": 6, "titleFontWeight": "normal"},
        },
        "y": {"field": "number", "type": "quantitative", "title": None, "axis": {"tickCount": 3, "format": "~s"}},
        "href": {"field": "href"},
        "description": {"field": "said"},
    }  # fmt: skip
    if len(series) > 1:
        encoding["xOffset"] = {"field": "series", "sort": series}
        encoding["color"] = {
            "field": "series", "type": "nominal", "title": None, "sort": series,
            "scale": {"domain": series, "range": [ACCENT, SECOND]}, "legend": {"orient": "top"},
        }  # fmt: skip
    spec = {
        "width": 400, "height": 130, "data": {"values": values}, "mark": {"type": "bar", "color": ACCENT},
        "encoding": encoding,
    }  # fmt: skip
    drawn = once_drawn(json.dumps(spec), title, f"The most: {highest.said}.").replace('role="img"', 'role="group"', 1)
    return Markup(LINK.sub(r'<a href="\1" aria-label="\2"><title>\2</title><path aria-hidden="true"', drawn))


NOWHERE = "https://curator.invalid"  # Vega puts an address of its own before a path
LINK = re.compile(rf'<a xlink:href="{NOWHERE}([^"]*)"><path aria-label="([^"]*)"')


@lru_cache(64)
def once_drawn(spec: str, title: str, description: str) -> str:
    """Draw a specification once, however often it is shown: that takes a twentieth of a second."""
    return str(figure(json.loads(spec), title, description))


class Column(NamedTuple):
    """A bar of a histogram: where it stands and how much it counts, in words too, and what opens when it is pressed."""

    low: float
    number: int
    said: str
    href: str
    is_chosen: bool
    is_out: bool  # what is left out of what the page shows


def histogram(columns: Sequence[Column], title: str) -> Markup:
    """Draw columns that are links; they fill the width that there is, whatever it is. Empty without any.

    By hand: Vega's bars are no links, and it takes longer than all the rest of a page. Heights grow with the square
    root, as exact copies are often a hundred times as many as the rest.
    """
    most = max((column.number for column in columns), default=0)
    if not most:
        return Markup("")
    drawn = []
    for place, (low, number, said, href, is_chosen, is_out) in enumerate(columns):
        height = round(100 * math.sqrt(number / most), 1)
        chosen = (' class="out"' if is_out else "") + (' aria-current="true"' if is_chosen else "")
        # What is pressed is the whole column, as a small one could not be hit.
        drawn.append(
            f'<a href="{escape(href)}" data-low="{low:g}" aria-label="{escape(said)}"{chosen}><title>{escape(said)}'
            f'</title><rect class="touch" x="{10 * place}" width="10" height="100"/><rect class="bar" '
            f'x="{10 * place + 0.6}" y="{100 - height}" width="8.8" height="{height}"/></a>'
        )
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="histogram" role="group" aria-label="{escape(title)}" '
        f'viewBox="0 0 {10 * len(columns)} 100" preserveAspectRatio="none">{"".join(drawn)}</svg>'
    )


def figure(spec: Mapping[str, Any], title: str, description: str) -> Markup:
    """Draw a Vega-Lite specification as SVG that carries its title and says in words what it shows."""
    import vl_convert  # 0.4 s at the first figure: only pages with a figure pay for it

    size = {"labelFontSize": 12, "titleFontSize": 12}
    quiet = {"labelColor": QUIET, "titleColor": QUIET, "labelFont": FONT, "titleFont": FONT}
    config = {
        "background": "transparent",
        "view": {"stroke": None},
        "axis": quiet | {"domainColor": RULE, "tickColor": RULE, "gridColor": RULE, **size},
        "legend": quiet | {"labelFontSize": 12, "labelColor": INK},
    }
    svg = vl_convert.vegalite_to_svg({**spec, "config": config})
    for stand_in, token in TOKENS.items():
        svg = svg.replace(stand_in, token)
    head, _, body = svg.partition(">")
    box = head[head.index("viewBox=") :].split('"')[1]
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="figure" role="img" viewBox="{box}" '
        f'preserveAspectRatio="xMinYMin"><title>{escape(title)}</title><desc>{escape(description)}</desc>{body}'
    )
