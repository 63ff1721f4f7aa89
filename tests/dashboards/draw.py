#!/usr/bin/env python3
"""Draws a dashboard from what Prometheus answered to its queries.

    tests/dashboards/draw.py DASHBOARD.json ANSWERS.json PICTURE.png

It is no Grafana: it knows the panels, options and units that our dashboards
use, and stops at any other. Colours, texts, units, legends, thresholds and the
layout are those of the dashboard's own JSON; `tests/dashboards/picture` makes
the answers.
"""

import json
import math
import re
import sys
from datetime import datetime, timezone

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.patches import FancyBboxPatch, Rectangle
from PIL import Image

WIDTH, UNIT, GAP, HEADER = 1400, 34, 6, 66
PAGE, PANEL, EDGE, TEXT, FAINT = "#111217", "#181b1f", "#2c3038", "#d8d9da", "#8e9297"
NAMED = {
    "green": "#73bf69", "orange": "#ff9830", "red": "#f2495c", "purple": "#b877d9",
    "blue": "#5794f2", "yellow": "#fade2a", "text": TEXT, "transparent": PANEL,
}
PALETTE = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2",
           "#b877d9", "#705da0", "#37872d", "#fade2a", "#447ebc", "#c15c17"]


def colour(name):
    return NAMED.get(name, name)


def above(fill):
    """A colour for text that can be read on this one."""
    red, green, blue = (int(colour(fill)[n:n + 2], 16) for n in (1, 3, 5))
    return "#111217" if 0.3 * red + 0.6 * green + 0.1 * blue > 110 else TEXT


# Values as people read them.

def seconds(value):
    for size, unit, less, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if abs(value) >= size:
            return f"{value // size:.0f} {unit} {value % size // less:.0f} {part}"
    return f"{value:.3g} s" if abs(value) >= 1 or value == 0 else f"{value * 1000:.3g} ms"


def shown(value, unit, now):
    if unit in ("s", "dtdurations"):
        return seconds(value)
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "cpm":
        return f"{value:.3g}/min"
    if unit == "dateTimeFromNow":
        return f"{seconds(now - value / 1000)} ago"
    if unit in ("none", "short"):
        return f"{value:.4g}"
    raise SystemExit(f"no unit {unit}")


class Field:
    """How a panel shows its values."""

    def __init__(self, panel, now):
        config = panel["fieldConfig"]
        self.now, self.defaults = now, config["defaults"]
        self.unit = self.defaults["unit"]
        self.mapped = {}
        for mapping in self.defaults.get("mappings", []):
            for value, result in mapping["options"].items():
                self.mapped[float(value)] = (result["text"], result["color"])
        self.fixed = {}
        for override in config["overrides"]:
            for each in override["properties"]:
                for name in override["matcher"]["options"]["names"]:
                    self.fixed[name] = each["value"]["fixedColor"]

    def text(self, value):
        if value in self.mapped:
            return self.mapped[value][0]
        return shown(value, self.unit, self.now)

    def colour(self, value):
        if value in self.mapped:
            return colour(self.mapped[value][1])
        steps = self.defaults["thresholds"]["steps"]
        reached = [s for s in steps if s["value"] is None or value >= s["value"]]
        return colour(reached[-1]["color"])

    def of_series(self, name, nth):
        return colour(self.fixed.get(name, PALETTE[nth % len(PALETTE)]))


class Series:
    """One line of a query: its name, its times, its values."""

    def __init__(self, found, legend):
        self.labels = found["metric"]
        self.name = re.sub(r"\{\{(\w+)\}\}", lambda m: self.labels.get(m[1], ""), legend).strip()
        samples = found.get("values") or [found["value"]]
        samples = [(float(t), float(v)) for t, v in samples if v != "NaN"]
        self.times = [t for t, _ in samples]
        self.values = [v for _, v in samples]


class Page:
    def __init__(self, dashboard, answers):
        self.dashboard, self.answers = dashboard, answers
        self.begin, self.end, self.step = answers["from"], answers["to"], answers["step"]
        grids = [panel["gridPos"] for panel in dashboard["panels"]]
        self.height = HEADER + UNIT * max(g["y"] + g["h"] for g in grids) + GAP
        self.figure = pyplot.figure(figsize=(WIDTH / 100, self.height / 100), dpi=100)
        self.figure.set_facecolor(PAGE)

    def axes(self, left, top, width, height):
        """Axes by pixels from the upper left corner."""
        axes = self.figure.add_axes(
            (left / WIDTH, 1 - (top + height) / self.height, width / WIDTH, height / self.height))
        axes.set_facecolor(PANEL)
        return axes

    def write(self, left, top, text, size=9, paint=TEXT, **how):
        self.figure.text(left / WIDTH, 1 - top / self.height, text, size=size, color=paint,
                         **{"va": "center", **how})

    def box(self, left, top, width, height, fill=PANEL, edge=EDGE):
        self.figure.patches.append(FancyBboxPatch(
            (left, self.height - top - height), width, height, boxstyle="round,pad=0,rounding_size=3",
            transform=None, facecolor=fill, edgecolor=edge, linewidth=0.8, zorder=-1))

    def draw(self):
        values = self.answers["values"]
        self.write(12, 20, self.dashboard["title"], 14, weight="bold")
        day = datetime.fromtimestamp(self.begin, timezone.utc).strftime("%Y-%m-%d")
        self.write(WIDTH - 12, 20, f"{day}  {clock(self.begin)} to {clock(self.end)} UTC", 10, FAINT, ha="right")
        chosen = [f"{v['label']}: {values[v['name']].replace('|', ' + ')}"
                  for v in self.dashboard["templating"]["list"] if v["name"] in values]
        self.write(12, 48, "     ".join(chosen), 9, FAINT)
        links = [link["title"] for link in self.dashboard["links"]]
        self.write(WIDTH - 12, 48, "     ".join(f"{link} ↗" for link in links), 9, FAINT, ha="right")
        for panel in self.dashboard["panels"]:
            self.panel(panel)

    def panel(self, panel):
        grid = panel["gridPos"]
        column = (WIDTH - 2 * GAP) / 24
        left, top = GAP + grid["x"] * column, HEADER + grid["y"] * UNIT
        width, height = grid["w"] * column - GAP, grid["h"] * UNIT - GAP
        if panel["type"] == "row":
            return self.write(left + 6, top + height / 2, f"⌄  {panel['title']}", 10.5, weight="bold")
        field = Field(panel, self.end)
        frames = []
        for target, found in zip(panel["targets"], self.answers["answers"][str(panel["id"])]):
            frames.append([Series(one, target["legendFormat"]) for one in found])
        self.box(left, top, width, height)
        self.write(left + 9, top + 14, panel["title"], 9, weight="medium")
        draw = {"stat": self.stat, "state-timeline": self.states, "status-history": self.states,
                "timeseries": self.lines, "table": self.table}[panel["type"]]
        draw(panel, field, frames, (left, top + 26, width, height - 26))

    def stat(self, panel, field, frames, place):
        left, top, width, height = place
        all_series = [s for frame in frames for s in frame if s.values]
        if panel["options"]["textMode"] == "value_and_name":
            for nth, series in enumerate(all_series):
                middle = top + height * (nth + 0.5) / len(all_series)
                self.write(left + 12, middle, series.name, 10, FAINT)
                value = series.values[-1]
                self.write(left + width - 14, middle, field.text(value), 17, field.colour(value),
                           ha="right", weight="bold")
            return
        series = all_series[0]
        value = series.values[-1]
        text = series.name if panel["options"]["textMode"] == "name" else field.text(value)
        fill = field.colour(value)
        self.box(left + 4, top, width - 8, height - 4, fill, fill)
        self.write(left + width / 2, top + height / 2 - 2, text, min(18, height * 0.3), above(fill),
                   ha="center", weight="bold")

    def time_axis(self, axes, marks=True):
        axes.set_xlim(self.begin, self.end)
        every = next(e for e in (30, 60, 120, 300, 600) if (self.end - self.begin) / e <= 8)
        ticks = range(math.ceil(self.begin / every) * every, int(self.end), every)
        axes.set_xticks(list(ticks), [clock(t)[:5] for t in ticks])
        axes.tick_params(colors=FAINT, labelsize=7.5, length=0, pad=3)
        for spine in axes.spines.values():
            spine.set_visible(False)
        for annotation in self.dashboard["annotations"]["list"] if marks else []:
            for found in self.answers["answers"].get(annotation["name"], [[]])[0]:
                for at in {float(v) / 1000 for _, v in found["values"]}:
                    if self.begin <= at <= self.end:
                        axes.axvline(at, color=colour(annotation["iconColor"]), lw=0.9, ls=(0, (4, 3)), zorder=5)
                        axes.plot([at], [0], marker="^", ms=5, color=colour(annotation["iconColor"]),
                                  transform=axes.get_xaxis_transform(), clip_on=False, zorder=6)

    def legend(self, place, entries):
        """Names with their colours at the bottom, in as many lines as it takes
        (two at most); how high they are."""
        left, top, width, height = place
        lines, at = [[]], 0
        for name, paint in entries:
            long = 24 + 6.2 * len(name)
            if at + long > width - 10 and lines[-1]:
                lines.append([])
                at = 0
            lines[-1].append((left + 10 + at, name, paint))
            at += long
        lines = lines[:2]
        for nth, line in enumerate(reversed(lines)):
            middle = top + height - 10 - 14 * nth
            for start, name, paint in line:
                bar = Rectangle((start, self.height - middle - 1), 10, 3, transform=None, color=paint)
                self.figure.patches.append(bar)
                self.write(start + 14, middle, name, 7.8)
        return 14 * len(lines)

    def states(self, panel, field, frames, place):
        left, top, width, height = place
        rows = [series for frame in frames for series in frame]
        margin = 16 + 5.9 * max(len(series.name) for series in rows)
        present = {value for series in rows for value in series.values}
        legend = self.legend(place, [(text, colour(paint)) for value, (text, paint) in sorted(field.mapped.items())
                                     if value in present])
        axes = self.axes(left + margin, top + 2, width - margin - 12, height - 30 - legend)
        history = panel["type"] == "status-history"
        across = (panel["options"]["colWidth"] if history else 1) * self.step
        pixels = (width - margin - 12) / (self.end - self.begin)
        for nth, series in enumerate(rows):
            for begin, end, value in ((t, t + self.step, v) for t, v in zip(series.times, series.values)) \
                    if history else merged(series, self.step):
                fill, end = field.colour(value), min(end, self.end)
                long = across if history else end - begin
                axes.add_patch(Rectangle((begin, nth + 0.1), min(long, self.end - begin), 0.8, color=fill, lw=0))
                text = field.text(value)
                if panel["options"]["showValue"] == "auto" and pixels * long > 10 + 6 * len(text):
                    axes.text(begin + 5 / pixels, nth + 0.5, text, size=8, color=above(fill), va="center")
        axes.set_ylim(len(rows), 0)
        self.time_axis(axes)
        axes.set_yticks([nth + 0.5 for nth in range(len(rows))], [series.name for series in rows])
        axes.tick_params(axis="y", labelsize=8, colors=TEXT)

    def lines(self, panel, field, frames, place):
        left, top, width, height = place
        custom = field.defaults["custom"]
        all_series = [series for frame in frames for series in frame]
        entries = [(series.name, field.of_series(series.name, nth)) for nth, series in enumerate(all_series)]
        legend = self.legend(place, entries)
        axes = self.axes(left + 58, top + 4, width - 72, height - 32 - legend)
        stacked, highest = {}, 0
        for series, (_, paint) in zip(all_series, entries):
            if custom["drawStyle"] == "bars":
                floor = [stacked.get(t, 0) for t in series.times]
                axes.bar(series.times, series.values, self.step * 0.8, floor, color=paint, alpha=0.8, lw=0)
                tops = [f + v for f, v in zip(floor, series.values)]
                stacked.update(zip(series.times, tops))
            else:
                how = "steps-post" if custom["lineInterpolation"] == "stepAfter" else "default"
                for times, tops in pieces(series, self.step):
                    axes.plot(times, tops, color=paint, lw=1.2, drawstyle=how)
                tops = series.values
                alone = [(t, v) for times, vs in pieces(series, self.step) if len(times) == 1 for t, v in zip(times, vs)]
                axes.plot([t for t, _ in alone], [v for _, v in alone], ls="", marker="o", ms=2.5, color=paint)
            highest = max([highest, *tops])
        axes.set_ylim(field.defaults["min"], highest * 1.08 or 1)
        if custom["thresholdsStyle"]["mode"] == "dashed":
            for step in field.defaults["thresholds"]["steps"][1:]:
                axes.axhline(step["value"], color=colour(step["color"]), lw=0.9, ls="--")
        self.time_axis(axes)
        axes.locator_params(axis="y", nbins=5)
        axes.yaxis.set_major_formatter(lambda value, _: shown(value, field.unit, self.end))
        axes.grid(color=EDGE, lw=0.6)
        axes.set_axisbelow(True)

    def table(self, panel, field, frames, place):
        left, top, width, height = place
        merge, organize = panel["transformations"]
        assert (merge["id"], organize["id"]) == ("merge", "organize")
        rows = {}
        keys = set.intersection(*({*s.labels} for frame in frames for s in frame))
        for target, frame in zip(panel["targets"], frames):
            value = "Value" if len(frames) == 1 else f"Value #{target['refId']}"
            for series in frame:
                row = rows.setdefault(tuple(series.labels[key] for key in sorted(keys)), {})
                row.update(series.labels)
                row[value] = series.values[-1]
        options = organize["options"]
        columns = [c for c in sorted(options["indexByName"], key=options["indexByName"].get)
                   if c not in options["excludeByName"]]
        across = (width - 20) / len(columns)
        self.write(left + 10, top + 10, "", 8)
        for nth, name in enumerate(columns):
            self.write(left + 12 + nth * across, top + 10, options["renameByName"].get(name, name), 8.5, colour("blue"),
                       weight="bold")
        for line, key in enumerate(sorted(rows)):
            middle = top + 34 + 24 * line
            if middle + 12 > top + height:
                break
            for nth, name in enumerate(columns):
                value = rows[key].get(name, "")
                at = left + 12 + nth * across
                number = isinstance(value, float)
                if number and value in field.mapped:
                    fill = field.colour(value)
                    self.box(at - 5, middle - 10, across - 8, 20, fill, fill)
                    self.write(at, middle, field.text(value), 9, above(fill))
                else:
                    self.write(at, middle, field.text(value) if number else value, 9)


def clock(at):
    return datetime.fromtimestamp(at, timezone.utc).strftime("%H:%M:%S")


def merged(series, step):
    """Neighbours with one value as one piece: begin, end, value."""
    found = []
    for at, value in zip(series.times, series.values):
        if found and found[-1][1] == at and found[-1][2] == value:
            found[-1] = (found[-1][0], at + step, value)
        else:
            found.append((at, at + step, value))
    return found


def pieces(series, step):
    """What lies between gaps: a missing sample breaks a line."""
    found = []
    for at, value in zip(series.times, series.values):
        if not found or at - found[-1][0][-1] > step:
            found.append(([], []))
        found[-1][0].append(at)
        found[-1][1].append(value)
    return found


def main(dashboard, answers, picture):
    with open(dashboard) as file:
        dashboard = json.load(file)
    with open(answers) as file:
        answers = json.load(file)
    page = Page(dashboard, answers)
    page.draw()
    page.figure.savefig(picture, facecolor=PAGE)
    # A page in two hundred colours is a third of the size, and looks the same.
    Image.open(picture).convert("RGB").quantize(200).save(picture, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
