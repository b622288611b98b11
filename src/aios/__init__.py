"""AIOS, an operating system for LLM agents. The names of a first hour, each imported when first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aios.connection import connect
    from aios.kernel.config import Config
    from aios.kernel.kernel import Kernel
    from aios.sdk.agent import Agent, agent
    from aios.sdk.methods.react import ReAct
    from aios.sdk.tool import tool

__all__ = ["Agent", "Config", "Kernel", "ReAct", "agent", "connect", "tool"]

_HOMES = {
    "Agent": "aios.sdk.agent",
    "Config": "aios.kernel.config",
    "Kernel": "aios.kernel.kernel",
    "ReAct": "aios.sdk.methods.react",
    "agent": "aios.sdk.agent",
    "connect": "aios.connection",
    "tool": "aios.sdk.tool",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'aios' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
