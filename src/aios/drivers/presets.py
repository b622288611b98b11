"""Providers and servers whose defaults are known: where they are, and what their wire does its own way.

Each is told by its own documentation, named in `source`. What a server refuses is left out of its requests;
what it merely ignores is left out too, so that nobody takes it for heeded. The key of a preset is meant for
the preset's own address alone: who sets another address names the key that may go there.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from aios.abi.errors import InvalidArgument
from aios.drivers.continuing import Continuation

Wire = Literal["openai", "anthropic", "gemini"]


class Preset(Struct, frozen=True, kw_only=True):
    """One provider, or one kind of server."""

    kind: Wire = "openai"
    base_url: str = ""
    """Empty where each account has its own."""
    form: str = ""
    """Of such an address, for people: the parts in capitals are theirs to fill in."""
    api_key_env: str = ""
    """Empty for servers that want no key."""
    seed: str = "seed"
    """What it calls a seed; empty where it takes none. So with the rest."""
    top_k: str = ""
    min_p: str = ""
    repetition_penalty: str = ""
    n: str = ""
    """How many answers it is asked for. This and the two above are refused where it has no word for them."""
    max_tokens: str = "max_tokens"
    json_schema: str = "json_schema"
    """`json_object` where it takes no schema, but can be bound to JSON."""
    stream_usage: bool = True
    """Whether usage has to be asked for, by `stream_options`. Who tells it anyway may refuse to be asked."""
    message_names: bool = True
    """Whether a message may have a name."""
    continuation: Continuation = "none"
    """How it goes on with a partial answer: only where its documentation says so of all its models."""
    prefix: str = ""
    """The mark of a partial answer, where it wants one."""
    source: str
    """Where its documentation says all this."""

    @property
    def fields(self) -> dict[str, str]:
        """What its requests call otherwise, or leave out: see `RemoteDriver`."""
        if self.kind != "openai":
            return {}
        own = {
            "seed": self.seed,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "n": self.n,
            "max_tokens": self.max_tokens,
            "json_schema": self.json_schema,
            "stream_options": "stream_options" if self.stream_usage else "",
            "messages.name": "name" if self.message_names else "",
        }
        found = {field: name for field, name in own.items() if name != field.rpartition(".")[2]}
        return found | ({"messages.prefix": self.prefix} if self.prefix else {})


PRESETS: Mapping[str, Preset] = {
    "openai": Preset(
        base_url="https://api.openai.com/v1",
        api_key_env="OPENAI_API_KEY",
        # Reasoning models refuse `max_tokens`; all others take the newer name too.
        max_tokens="max_completion_tokens",
        n="n",
        source="platform.openai.com/docs/api-reference/chat/create",
    ),
    "anthropic": Preset(
        kind="anthropic",
        base_url="https://api.anthropic.com",
        api_key_env="ANTHROPIC_API_KEY",
        seed="",
        top_k="top_k",
        # Not its models since 4.6: see `anthropic_models`.
        continuation="prefill",
        source="platform.claude.com/docs/en/api/messages, …/about-claude/models/whats-new-claude-4-6",
    ),
    "gemini": Preset(
        kind="gemini",
        base_url="https://generativelanguage.googleapis.com",
        api_key_env="GEMINI_API_KEY",
        top_k="topK",
        source="ai.google.dev/api/generate-content",
    ),
    "azure": Preset(
        form="https://RESOURCE.openai.azure.com/openai/v1",
        api_key_env="AZURE_OPENAI_API_KEY",
        max_tokens="max_completion_tokens",
        n="n",
        source="learn.microsoft.com/azure/foundry/openai/api-version-lifecycle",
    ),
    "bedrock": Preset(
        form="https://bedrock-runtime.REGION.amazonaws.com/openai/v1",
        api_key_env="AWS_BEARER_TOKEN_BEDROCK",
        seed="",
        max_tokens="max_completion_tokens",
        source="docs.aws.amazon.com/bedrock/latest/userguide/inference-chat-completions.html",
    ),
    "groq": Preset(
        base_url="https://api.groq.com/openai/v1",
        api_key_env="GROQ_API_KEY",
        max_tokens="max_completion_tokens",
        message_names=False,
        source="console.groq.com/docs/openai",
    ),
    "together": Preset(
        base_url="https://api.together.xyz/v1",
        api_key_env="TOGETHER_API_KEY",
        top_k="top_k",
        min_p="min_p",
        repetition_penalty="repetition_penalty",
        n="n",
        source="docs.together.ai/reference/chat-completions-1",
    ),
    "fireworks": Preset(
        base_url="https://api.fireworks.ai/inference/v1",
        api_key_env="FIREWORKS_API_KEY",
        top_k="top_k",
        min_p="min_p",
        repetition_penalty="repetition_penalty",
        stream_usage=False,
        n="n",
        source="docs.fireworks.ai/tools-sdks/openai-compatibility",
    ),
    "openrouter": Preset(
        base_url="https://openrouter.ai/api/v1",
        api_key_env="OPENROUTER_API_KEY",
        top_k="top_k",
        min_p="min_p",
        repetition_penalty="repetition_penalty",
        source="openrouter.ai/docs/api-reference/streaming, …/errors",
    ),
    "mistral": Preset(
        base_url="https://api.mistral.ai/v1",
        api_key_env="MISTRAL_API_KEY",
        seed="random_seed",
        stream_usage=False,
        message_names=False,
        n="n",
        source="docs.mistral.ai/api",
    ),
    "deepseek": Preset(
        base_url="https://api.deepseek.com/v1",
        api_key_env="DEEPSEEK_API_KEY",
        seed="",
        json_schema="json_object",
        # It continues at https://api.deepseek.com/beta only, so not by default.
        prefix="prefix",
        source="api-docs.deepseek.com/api/create-chat-completion, …/guides/json_mode, "
        "…/guides/chat_prefix_completion",
    ),
    "cerebras": Preset(
        base_url="https://api.cerebras.ai/v1",
        api_key_env="CEREBRAS_API_KEY",
        max_tokens="max_completion_tokens",
        source="inference-docs.cerebras.ai/api-reference/chat-completions",
    ),
    "ollama": Preset(
        base_url="http://127.0.0.1:11434/v1",
        source="docs.ollama.com/api/openai-compatibility",
    ),
    "vllm": Preset(
        base_url="http://127.0.0.1:8000/v1",
        top_k="top_k",
        min_p="min_p",
        repetition_penalty="repetition_penalty",
        continuation="exact",
        n="n",
        source="docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
    ),
    "sglang": Preset(
        base_url="http://127.0.0.1:30000/v1",
        top_k="top_k",
        min_p="min_p",
        repetition_penalty="repetition_penalty",
        continuation="exact",
        n="n",
        source="docs.sglang.ai/basic_usage/openai_api_completions.html",
    ),
    "llama.cpp": Preset(
        base_url="http://127.0.0.1:8080/v1",
        top_k="top_k",
        min_p="min_p",
        repetition_penalty="repeat_penalty",
        continuation="prefill",
        source="github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
    ),
    "lmstudio": Preset(
        base_url="http://127.0.0.1:1234/v1",
        top_k="top_k",
        repetition_penalty="repeat_penalty",
        source="lmstudio.ai/docs/developer/openai-compat",
    ),
}
"""By the names that a configuration knows them by."""


def preset(name: str) -> Preset:
    """The preset of that name. `InvalidArgument` names those there are."""
    found = PRESETS.get(name)
    if found is None:
        raise InvalidArgument(f"there is no preset {name!r}; there are {', '.join(sorted(PRESETS))}")
    return found
