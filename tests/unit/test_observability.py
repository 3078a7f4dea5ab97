"""The manual, the dashboard and the alerts speak of metrics, fields and attributes that there are, and of each."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from prometheus_client.core import Metric

from fsserver.telemetry.metrics import Metrics
from fsserver.telemetry.seen import Begun, Decision, Seen
from fsserver.telemetry.sources import AuditPlace, Sources
from fsserver.telemetry.tracing import _attributes
from tests.support import REPOSITORY, require_program

MANUAL = (REPOSITORY / "docs/observability.md").read_text()
DASHBOARD = REPOSITORY / "deploy/grafana/fsserver.json"
ALERTS = REPOSITORY / "deploy/prometheus/alerts.yaml"
EXAMPLES = REPOSITORY / "deploy/prometheus/alerts_test.yaml"

OF_PROMETHEUS = {"up"}
TARGET_LABELS = frozenset({"job", "instance"})
SEEN = Seen(1, "a", "resources/read", "s", "p", "4f", "a" * 32, Decision.ALLOWED, None, None, 0.1, 1, is_error=False)


class Family(NamedTuple):
    """``name`` as it is asked for, but of a histogram, which is asked for as ``samples``."""

    name: str
    kind: str
    labels: frozenset[str]
    meaning: str
    samples: frozenset[str]


@pytest.fixture(scope="module")
def metrics() -> Iterator[Metrics]:
    """With everything that it can have."""
    sources = Sources(
        sessions=lambda: 1,
        connections=lambda: 1,
        commands_running=lambda: 1,
        audit=lambda: [AuditPlace("file")],
        checks=lambda: {"audit": True},
        draining=lambda: False,
    )
    assert None not in {getattr(sources, name) for name in Sources.__slots__}
    made = Metrics(version="1", policy="p", policy_digest="0", tools=["a"], sources=sources)
    made.began(Begun(1, "a", None, "s", "p", None, None))
    made.over(SEEN)
    for code in ("denied.rule", "limit.rate"):
        made.over(SEEN._replace(code=code, rule="p.yaml:1", is_error=True))
    made.request(200)
    yield made
    made.close()


@pytest.fixture(scope="module")
def families(metrics: Metrics) -> dict[str, Family]:
    return {each.name: each for each in map(family, metrics._registry.collect())}


def family(metric: Metric) -> Family:
    labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    samples = frozenset(sample.name for sample in metric.samples)
    assert samples, f"{metric.name} has no time series here"
    return Family(name, metric.type, frozenset(labels), metric.documentation, samples)


def table(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, each cell without backquotes."""
    section = MANUAL.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\|(.+)\|$", section, re.MULTILINE)[2:]
    return [[cell.strip().replace("`", "") for cell in row.split("|")] for row in rows]


# --- the manual


def test_manual_has_every_metric_with_its_labels_and_its_meaning(families: dict[str, Family]) -> None:
    rows = table("Metrics")
    told = {name: (kind, frozenset(labels.split(", ")) - {""}, meaning) for name, kind, labels, meaning in rows}
    assert told == {name: (each.kind, each.labels, each.meaning) for name, each in families.items()}


def test_manual_has_every_field_of_a_line() -> None:
    code = "from fsserver.telemetry.calls import CallLines; from fsserver.telemetry.logging import configure\n"
    code += "from tests.unit.test_observability import SEEN; configure()\n"
    code += "CallLines().over(SEEN._replace(code='denied.rule', rule='p.yaml:1', is_error=True))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True
    )
    assert [row[0] for row in table("A line for each call")] == list(json.loads(done.stderr))


def test_manual_has_every_attribute_of_a_span() -> None:
    sent = _attributes(SEEN._replace(code="denied.rule", rule="p.yaml:1", is_error=True)).keys()
    assert {row[0] for row in table("Traces")} == sent | {"gen_ai.tool.name"}


def test_manual_has_every_alert_with_its_severity() -> None:
    told = [tuple(row[:2]) for row in table("Dashboard and alerts")]
    assert told == [(rule["alert"], rule["labels"]["severity"]) for rule in rules()]


# --- the dashboard and the alerts


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def expressions() -> dict[str, str]:
    """Every one of both, by where it is."""
    dashboard = json.loads(DASHBOARD.read_text())
    found = {rule["alert"]: rule["expr"] for rule in rules()}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            found[variable["name"]] = variable["query"]["query"]
    for note in dashboard["annotations"]["list"]:
        found[note["name"]] = note["expr"]
    return found


EXPRESSIONS = expressions()
_NAME = re.compile(r"\b((?:fsserver|process|python)_\w+|up)\b(?:\{(.*?)\})?")
_GROUPS = re.compile(r"\b(?:by|on) \((.*?)\)")


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_expression_asks_for_time_series_and_labels_that_there_are(where: str, families: dict[str, Family]) -> None:
    found = list(_NAME.finditer(EXPRESSIONS[where]))
    assert found
    owners = {sample: each for each in families.values() for sample in each.samples}
    labels = TARGET_LABELS
    for name, selector in (match.groups() for match in found):
        if name in OF_PROMETHEUS:
            known = TARGET_LABELS
        else:
            assert name in owners, f"{name} is not served"
            known = owners[name].labels | TARGET_LABELS | frozenset({"le"} if name.endswith("_bucket") else ())
        assert set(re.findall(r"(\w+)[=!]~?\"", selector or "")) <= known
        labels |= known
    for group in _GROUPS.findall(EXPRESSIONS[where]):
        assert set(group.split(", ")) <= labels


def test_dashboard_shows_every_metric_but_what_says_the_same(families: dict[str, Family]) -> None:
    shown = " ".join(EXPRESSIONS.values())
    unseen = {name for name in families if name not in shown}
    assert unseen == {
        "process_virtual_memory_bytes",
        "python_gc_objects_collected_total",
        "python_gc_objects_uncollectable_total",
    }


def test_dashboard_asks_the_chosen_source_and_its_panels_do_not_overlap() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (column, row)
            for column in range(place["x"], place["x"] + place["w"])
            for row in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert 'job=~"$job", instance=~"$instance"' in target["expr"]


def test_every_alert_says_what_is_the_matter_and_has_examples() -> None:
    examples = yaml.safe_load(EXAMPLES.read_text())["tests"]
    tried = [each["alertname"] for example in examples for each in example["alert_rule_test"] if each.get("exp_alerts")]
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["alert"] in tried


# --- Prometheus' own judgement, where it is installed


def promtool(*arguments: str, stdin: bytes = b"", at: Path = REPOSITORY) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("promtool")
    if program is None:
        require_program("promtool")
    return subprocess.run([program, *arguments], input=stdin, cwd=at, capture_output=True, timeout=60, check=False)


def test_promtool_takes_the_alerts() -> None:
    done = promtool("check", "rules", str(ALERTS))
    assert done.returncode == 0, done.stderr


def test_promtool_finds_that_each_example_fires_what_it_says() -> None:
    done = promtool("test", "rules", EXAMPLES.name, at=EXAMPLES.parent)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_notices_an_alert_that_does_not_fire(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text(ALERTS.read_text().replace("> 60", "> 6000"))
    shutil.copy(EXAMPLES, tmp_path)
    done = promtool("test", "rules", EXAMPLES.name, at=tmp_path)
    assert done.returncode == 1, done.stdout
    assert b"FsserverAuditLags" in done.stdout + done.stderr


def test_promtool_finds_nothing_to_say_of_the_metrics(metrics: Metrics) -> None:
    """``process_max_fds`` and its kin are named as everywhere."""
    done = promtool("check", "metrics", stdin=metrics.exposed("")[1])
    said = [line for line in (done.stdout + done.stderr).decode().splitlines() if not line.startswith("process_")]
    assert said == []
