"""From a core's configuration to its driver."""

from collections.abc import Mapping

import pytest

from aios.abi import errors
from aios.drivers.engine_frames import Torch
from aios.drivers.llm_anthropic import AnthropicDriver
from aios.drivers.llm_gemini import GeminiDriver
from aios.drivers.llm_local import EmbeddedDriver
from aios.drivers.llm_remote import OpenAIDriver
from aios.drivers.models import huggingface
from aios.drivers.remote_core import RemoteDriver
from aios.kernel.config import CoreConfig
from aios.kernel.drivers import driver_of

KEYS = {"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2", "GEMINI_API_KEY": "sk-3", "MINE": "sk-4"}


def remote(core: CoreConfig, environ: Mapping[str, str] = KEYS) -> RemoteDriver:
    driver = driver_of(core, environ=environ)
    assert isinstance(driver, RemoteDriver)
    return driver


def test_without_anything_it_is_the_embedded_model() -> None:
    driver = driver_of(CoreConfig(name="nano", slots=0), environ={})
    assert isinstance(driver, EmbeddedDriver)
    assert driver.model == "nano"


def test_a_model_of_hugging_faces_files_is_loaded_as_its_core_says(monkeypatch: pytest.MonkeyPatch) -> None:
    core = CoreConfig(kind="huggingface", path="Qwen/Qwen3-0.6B", device="cpu", dtype="bfloat16", threads=3)
    monkeypatch.setattr(
        huggingface, "missing", lambda: "torch not installed: pip install 'aios[huggingface]'"
    )
    with pytest.raises(errors.InvalidArgument, match=r"pip install 'aios\[huggingface\]'"):
        driver_of(core, environ={})
    monkeypatch.setattr(huggingface, "missing", lambda: "")
    driver = driver_of(core, environ={})
    assert isinstance(driver, EmbeddedDriver)
    assert driver.model == "Qwen3-0.6B"
    assert driver._load.folder == "Qwen/Qwen3-0.6B"
    assert driver._load.torch == Torch("cpu", "bfloat16", 3)


@pytest.mark.parametrize(
    ("preset", "kind", "url", "key"),
    [
        ("openai", OpenAIDriver, "https://api.openai.com/v1/chat/completions", "sk-1"),
        ("anthropic", AnthropicDriver, "https://api.anthropic.com/v1/messages", "sk-2"),
        (
            "gemini",
            GeminiDriver,
            "https://generativelanguage.googleapis.com/v1beta/models/big:streamGenerateContent?alt=sse",
            "sk-3",
        ),
        ("ollama", OpenAIDriver, "http://127.0.0.1:11434/v1/chat/completions", ""),
    ],
)
def test_a_preset_needs_no_more_than_a_model(preset: str, kind: type, url: str, key: str) -> None:
    driver = remote(CoreConfig(preset=preset, model="big"))
    assert type(driver) is kind
    assert (driver._url, driver._api_key, driver.model) == (url, key, "big")


@pytest.mark.parametrize(
    ("kind", "made"), [("openai", OpenAIDriver), ("anthropic", AnthropicDriver), ("gemini", GeminiDriver)]
)
def test_a_kind_needs_an_address_too(kind: str, made: type) -> None:
    driver = remote(CoreConfig(kind=kind, model="big", base_url="http://127.0.0.1:1"))
    assert type(driver) is made
    assert driver._api_key == ""


def test_what_is_set_goes_before_the_preset() -> None:
    core = CoreConfig(
        preset="openai",
        kind="openai",
        model="big",
        base_url="http://127.0.0.1:1/v1",
        api_key_env="MINE",
        fields={"max_tokens": "max_tokens", "temperature": ""},
        slots=3,
        window=9,
        timeout_s=7,
    )
    driver = remote(core)
    assert (driver._url, driver._api_key) == ("http://127.0.0.1:1/v1/chat/completions", "sk-4")
    assert (driver._fields["max_tokens"], driver._fields["temperature"]) == ("max_tokens", "")
    assert driver._fields["top_k"] == ""
    assert (driver._slots, driver.window, driver._limits.idle_s) == (3, 9, 7)


def test_a_presets_key_goes_to_no_other_address() -> None:
    assert remote(CoreConfig(preset="openai", model="big", base_url="http://127.0.0.1:1/v1"))._api_key == ""
    same = CoreConfig(preset="openai", model="big", base_url="https://api.openai.com/v1")
    assert remote(same)._api_key == "sk-1"
    azure = CoreConfig(preset="azure", model="big", base_url="https://mine.openai.azure.com/openai/v1")
    assert remote(azure, {"AZURE_OPENAI_API_KEY": "sk-5"})._api_key == "sk-5"


@pytest.mark.parametrize(
    ("core", "says"),
    [
        (CoreConfig(preset="olama", model="big"), "no preset 'olama'"),
        (CoreConfig(preset="ollama"), "model"),
        (CoreConfig(kind="anthropic", base_url="http://a"), "model"),
        (CoreConfig(kind="huggingface"), "path"),
        (CoreConfig(kind="huggingface", path="a", preset="ollama"), "preset"),
        (CoreConfig(kind="anthropic", model="big"), "base_url"),
        (CoreConfig(preset="azure", model="big", api_key_env="MINE"), "RESOURCE.openai.azure.com"),
        (CoreConfig(preset="groq", model="big"), "GROQ_API_KEY"),
        (CoreConfig(kind="openai", model="big", base_url="http://a/v1", api_key_env="NONE"), "NONE"),
        (CoreConfig(preset="gemini", kind="openai", model="big"), "'gemini'"),
        (CoreConfig(kind="gemini", model="big", base_url="ftp://a"), "http"),
    ],
)
def test_what_is_missing_is_named(core: CoreConfig, says: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=says):
        driver_of(core, environ=KEYS)
