"""From a core's configuration to its driver: what a preset knows, and what is still missing."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from aios.abi.errors import InvalidArgument
from aios.drivers.llm import LLMDriver
from aios.drivers.presets import Preset, preset
from aios.kernel.config import Config, ContextConfig, CoreConfig

SNAPSHOTS = "snapshots"
"""The folder below the data folder for what cores that run here leave on disk."""


def driver_of(
    core: CoreConfig, config: Config | None = None, environ: Mapping[str, str] = os.environ
) -> LLMDriver:
    """The driver of a core. What is set in its configuration goes before what its preset says.

    Without a `config` of the kernel, one that runs here leaves nothing on disk.

    Raises `InvalidArgument` when something is missing: an address, a model, or the key in the environment.
    """
    known = preset(core.preset) if core.preset else None
    if core.kind == "embedded" and known is None:
        # Imported here, as the others below: one brings numpy, they bring aiohttp, and not every kernel
        # needs both.
        from aios.drivers.llm_local import EmbeddedDriver

        return EmbeddedDriver(model=core.model or core.name, **_memory(core, config))
    if core.kind == "huggingface":
        return _huggingface(core, known, config)
    return _remote(core, known, environ)


def _memory(core: CoreConfig, config: Config | None) -> dict[str, Any]:
    """What a core that runs here may hold, in memory and on disk."""
    context = ContextConfig() if config is None else config.context
    return {
        "slots": core.slots or CoreConfig().slots,
        "kv_tokens": core.kv_tokens,
        "snapshot_bytes": context.max_snapshot_bytes,
        "snapshot_folder": None if config is None else config.data / SNAPSHOTS,
        "disk_bytes": context.max_disk_bytes,
    }


def _huggingface(core: CoreConfig, known: Preset | None, config: Config | None) -> LLMDriver:
    from aios.drivers.engine_frames import Torch
    from aios.drivers.llm_local import EmbeddedDriver
    from aios.drivers.models.huggingface import missing

    if known is not None:
        raise InvalidArgument(f"core {core.name!r} is of kind 'huggingface', and has a preset of another")
    if not core.path:
        raise InvalidArgument(f"core {core.name!r} needs the model's folder or name on the hub, in path")
    if absent := missing():
        raise InvalidArgument(f"core {core.name!r} of kind 'huggingface' can't run: {absent}")
    return EmbeddedDriver(
        core.path,
        torch=Torch(core.device, core.dtype, core.threads),
        model=core.model or core.path.rstrip("/").rpartition("/")[2],
        **_memory(core, config),
    )


def _remote(core: CoreConfig, known: Preset | None, environ: Mapping[str, str]) -> LLMDriver:
    from aios.drivers.exchange import Limits
    from aios.drivers.llm_anthropic import AnthropicDriver
    from aios.drivers.llm_gemini import GeminiDriver
    from aios.drivers.llm_remote import OpenAIDriver

    makers: dict[str, Callable[..., LLMDriver]] = {
        "openai": OpenAIDriver,
        "anthropic": AnthropicDriver,
        "gemini": GeminiDriver,
    }
    if not core.model:
        raise InvalidArgument(f"core {core.name!r} needs the name of a model, in model")
    return makers[_kind(core, known)](
        _base_url(core, known),
        core.model,
        _key(core, known, environ),
        slots=core.slots,
        window=core.window,
        fields={**(known.fields if known is not None else {}), **core.fields},
        continuation=core.continuation or (known.continuation if known is not None else "none"),
        limits=Limits(first_byte_s=core.timeout_s, idle_s=core.timeout_s),
    )


def _kind(core: CoreConfig, known: Preset | None) -> str:
    if known is None:
        return core.kind
    if core.kind not in ("embedded", known.kind):
        raise InvalidArgument(
            f"core {core.name!r} is of kind {core.kind!r}; its preset {core.preset!r} is of {known.kind!r}"
        )
    return known.kind


def _base_url(core: CoreConfig, known: Preset | None) -> str:
    if core.base_url:
        return core.base_url
    if known is None:
        raise InvalidArgument(f"core {core.name!r} of kind {core.kind!r} needs a base_url")
    if not known.base_url:
        raise InvalidArgument(f"core {core.name!r} needs a base_url, such as {known.form}")
    return known.base_url


def _key(core: CoreConfig, known: Preset | None, environ: Mapping[str, str]) -> str | None:
    variable = core.api_key_env or _preset_variable(core, known)
    if not variable:
        return None
    if not (key := environ.get(variable, "").strip()):
        raise InvalidArgument(f"core {core.name!r} needs its key in the environment variable {variable}")
    return key


def _preset_variable(core: CoreConfig, known: Preset | None) -> str:
    """A preset's key goes to the preset's address only; where it has none, to the one that is given."""
    if known is None or (core.base_url and known.base_url not in ("", core.base_url)):
        return ""
    return known.api_key_env
