"""Finds the agent that `aios run` is asked for: in a file, in a module, or the built-in ReAct agent."""

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from aios.cli.output import Unusable
from aios.sdk.agent import Program, is_marked


class LoadFailed(Unusable):
    """The target's own code raised while it was imported; `__cause__` is what it raised."""


def load(target: str) -> Program:
    """The agent of `module:name`, `file.py`, `file.py:name`, or `react`. `Unusable` where there is none."""
    if target == "react":
        return _react()
    place, colon, name = target.rpartition(":") if ":" in target else (target, "", "")
    module = _module(place)
    return _named(module, name, place) if colon else _only_marked(module, place)


def _react() -> Program:
    """The built-in agent: all of the kernel's tools, and whatever model the kernel has."""
    from aios.sdk.methods.react import ReAct

    return ReAct()


def _module(place: str) -> ModuleType:
    try:
        return _from_file(Path(place)) if place.endswith(".py") else _from_name(place)
    except ModuleNotFoundError as error:
        if (
            error.name is not None
            and not place.endswith(".py")
            and place.split(".")[0] == error.name.split(".")[0]
        ):
            hint = "; a target is MODULE:NAME, FILE.py[:NAME], or react"
            raise Unusable(f"there is no module {place!r}{hint}") from None
        raise LoadFailed(f"{place} can't be imported: {error}") from error
    except Unusable:
        raise
    except Exception as error:
        raise LoadFailed(f"{place} can't be imported: {type(error).__name__}: {error}") from error


def _from_name(name: str) -> ModuleType:
    """The module of that name; this folder counts, as with `python -m`."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return importlib.import_module(name)


def _from_file(path: Path) -> ModuleType:
    """The module in a file; its folder comes first on the path, as when Python runs a script."""
    if not path.is_file():
        raise Unusable(f"there is no file {path}")
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _named(module: ModuleType, name: str, place: str) -> Program:
    found = getattr(module, name, None)
    if found is None:
        raise Unusable(f"{place} has no {name!r}")
    if not (inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(getattr(found, "run", None))):
        raise Unusable(f"{name!r} in {place} is no agent: an async function, or a class with an async `run`")
    program: Program = found
    return program


def _only_marked(module: ModuleType, place: str) -> Program:
    marked = {
        name: value for name, value in vars(module).items() if is_marked(value) and _is_own(value, module)
    }
    if len(marked) == 1:
        program: Program = next(iter(marked.values()))
        return program
    if not marked:
        raise Unusable(f"{place} has nothing marked with @aios.agent; name it: {place}:NAME")
    raise Unusable(f"{place} has several agents, name one: {', '.join(f'{place}:{name}' for name in marked)}")


def _is_own(value: Any, module: ModuleType) -> bool:
    return getattr(value, "__module__", None) == module.__name__
