"""The drawings of an HTML report: bars as SVG, each with its words for those who do not see it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from fsserver.audit.markup import Markup, element
from fsserver.audit.report_data import Report
from fsserver.audit.report_words import bucket_words, number

_LEAST_BARS: Final = 30  # so that three of them do not fill the page


def timeline(report: Report) -> list[Markup]:
    """Calls, refusals and failures for each stretch of time."""
    rows = list(report.timeline.rows())
    if not rows:
        return [element("p", "There was no call.", class_="meta")]
    lanes = (
        ("All calls", "calls", [sum(counts) for _, counts in rows]),
        ("Refused", "refused", [counts[2] for _, counts in rows]),
        ("Failed", "failed", [counts[1] for _, counts in rows]),
    )
    starts = [datetime.fromtimestamp(second, UTC) for second, _ in rows]
    form = "%Y-%m-%d" if report.timeline.width >= 86400 else "%Y-%m-%d %H:%M" if _days(starts) else "%H:%M:%S"
    labels = [start.strftime(form) for start in starts]
    width = bucket_words(report.timeline.width)
    drawn = [_lane(*lane, labels, width) for lane in lanes if any(lane[2])]
    missing = [name.lower() for name, _, counts in lanes[1:] if not any(counts)]
    caption = f"Each bar is one {width}. Each row has a scale of its own. Times are UTC."
    if missing:
        caption += f" No call was {' or '.join(missing)}." if "refused" in missing else " No call failed."
    axis = element("div", element("span", labels[0]), element("span", labels[-1]), class_="axis", aria_hidden="true")
    return [element("figure", element("figcaption", caption), *drawn, axis)]


def _days(starts: Sequence[datetime]) -> bool:
    return starts[0].date() != starts[-1].date()


def _lane(name: str, kind: str, counts: Sequence[int], labels: Sequence[str], width: str) -> Markup:
    most = max(counts)
    bars = [
        element(
            "rect",
            element("title", f"{label}: {count}"),
            x=f"{place + 0.1:.1f}",
            y=f"{100 - 100 * count / most:.2f}",
            width="0.8",
            height=f"{100 * count / most:.2f}",
        )
        for place, (label, count) in enumerate(zip(labels, counts, strict=True))
        if count
    ]
    told = f"{name}: {number(sum(counts))} from {labels[0]} to {labels[-1]}, at most {most} in one {width}, "
    told += f"at {labels[counts.index(most)]}."
    drawing = element(
        "svg",
        *bars,
        class_=kind,
        viewBox=f"0 0 {max(len(counts), _LEAST_BARS)} 100",
        preserveAspectRatio="none",
        width="100%",
        height="56",
        role="img",
        aria_label=told,
    )
    peak = element("small", f"up to {number(most)} a bar")
    return element("div", element("p", name, peak), drawing, class_="lane tall" if kind == "calls" else "lane")


def bar(count: int, most: int) -> Markup:
    """How much ``count`` is of ``most``; the number itself is beside it."""
    filled = element("rect", width=f"{100 * count / most:.1f}", height="10", rx="1")
    drawing = {
        "viewBox": "0 0 100 10",
        "width": "100",
        "height": "10",
        "preserveAspectRatio": "none",
        "aria_hidden": "true",
        "class_": "calls",
    }
    return element("svg", filled, **drawing)
