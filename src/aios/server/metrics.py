"""The kernel's statistics as Prometheus's text: each number is a gauge named by its place in them."""

import re
from collections.abc import Iterator
from typing import Any

_NOT_A_NAME = re.compile(r"[^a-zA-Z0-9_]+")
_Sample = tuple[str, str, int | float]


def render(statistics: dict[str, Any]) -> str:
    """`{"waiting": 3}` becomes `aios_waiting 3`; what is no number is left out.

    The entries of a list go by their names: `aios_cores_slots{name="nano"} 64`.
    """
    lines: list[str] = []
    for name, label, value in sorted(_samples("aios", "", statistics)):
        kind = f"# TYPE {name} gauge"
        if kind not in lines:
            lines.append(kind)
        lines.append(f"{name}{label} {value}")
    return "\n".join(lines) + "\n"


def _samples(name: str, label: str, value: Any) -> Iterator[_Sample]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _samples(f"{name}_{_NOT_A_NAME.sub('_', str(key))}", label, inner)
    elif isinstance(value, list):
        for entry in value:
            if isinstance(entry, dict) and "name" in entry:
                yield from _samples(name, f'{{name="{_NOT_A_NAME.sub("_", str(entry["name"]))}"}}', entry)
    elif isinstance(value, bool | int | float):
        yield name, label, value if isinstance(value, float) else int(value)
