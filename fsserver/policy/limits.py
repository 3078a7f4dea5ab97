"""The limits of a policy, compiled: of each call, and of what each principal may use."""

from __future__ import annotations

from types import MappingProxyType

from fsserver.policy.compiled import Limits
from fsserver.policy.service import Budget, CallClass
from fsserver.policy.tree import Node
from fsserver.policy.units import byte_rate, call_rate


def compile_limits(tree: Node) -> Limits:
    """The limits that are written, and the defaults of the others."""
    defaults = Limits()
    time = tree.get("limits", "time")
    classes = tree.entries_at("limits", "calls", "classes")
    return Limits(
        time_s=float(time.number) if time else defaults.time_s,
        memory_bytes=_number(tree, "memory") or defaults.memory_bytes,
        output_bytes=_number(tree, "output") or defaults.output_bytes,
        result_bytes=_number(tree, "result") or defaults.result_bytes,
        concurrency=_number(tree, "calls", "concurrency") or defaults.concurrency,
        background=_number(tree, "background") or defaults.background,
        budget=_budget(tree.get("limits", "calls") or Node(tree.place, {})),
        budgets=MappingProxyType({CallClass(name): _budget(entry.node) for name, entry in classes.items()}),
    )


def _budget(calls: Node) -> Budget:
    rate, each, output = calls.get("rate"), calls.get("each"), calls.get("output")
    return Budget(
        rate=call_rate(rate.text) if rate else None,
        concurrency=int(each.number) if each else None,
        output=byte_rate(output.text) if output else None,
    )


def _number(tree: Node, *path: str) -> int | None:
    found = tree.get("limits", *path)
    return int(found.number) if found else None
