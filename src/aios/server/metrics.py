"""The kernel's statistics as Prometheus's text: each number is a gauge named by its place in them."""

import re
from collections.abc import Iterator
from typing import Any

_NOT_A_NAME = re.compile(r"[^a-zA-Z0-9_]+")


def render(statistics: dict[str, Any]) -> str:
    """`{"scheduler": {"waiting": 3}}` becomes `aios_scheduler_waiting 3`. What is no number is left out."""
    lines = [f"# TYPE {name} gauge\n{name} {value}" for name, value in _numbers("aios", statistics)]
    return "\n".join(lines) + "\n"


def _numbers(name: str, value: Any) -> Iterator[tuple[str, int | float]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(f"{name}_{_NOT_A_NAME.sub('_', str(key))}", inner)
    elif isinstance(value, bool):
        yield name, int(value)
    elif isinstance(value, int | float):
        yield name, value
