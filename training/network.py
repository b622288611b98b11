"""The decoder as torch trains it: the Llama layout and its tensor names, nothing about data or loss."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LONG = 1000
"""From this many positions on, torch's fused attention beats the written-out one on a CPU in bfloat16."""


class RMSNorm(nn.Module):
    """Root-mean-square norm with a learnt scale (Zhang and Sennrich, 2019)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Scale each row of `x` to unit mean square, in float32."""
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (wide * scale).to(self.weight.dtype) * self.weight


def rotary_tables(length: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions, in the rotate-half order of Hugging Face's Llama."""
    frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of halves of `x` by its position."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Attention(nn.Module):
    """Causal attention with grouped keys and values."""

    def __init__(self, shape: dict[str, int]) -> None:
        super().__init__()
        width, head = shape["hidden_size"], shape["head_dim"]
        self.heads, self.kv_heads, self.head_dim = (
            shape["num_attention_heads"],
            shape["num_key_value_heads"],
            head,
        )
        self.q_proj = nn.Linear(width, self.heads * head, bias=False)
        self.k_proj = nn.Linear(width, self.kv_heads * head, bias=False)
        self.v_proj = nn.Linear(width, self.kv_heads * head, bias=False)
        self.o_proj = nn.Linear(self.heads * head, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """Mix each position with those before it; `mask` is 0 where it may look, else minus infinity."""
        rows, length, _ = x.shape
        group = self.heads // self.kv_heads
        q = rotate(self.q_proj(x).view(rows, length, self.heads, self.head_dim).transpose(1, 2), cos, sin)
        k = rotate(self.k_proj(x).view(rows, length, self.kv_heads, self.head_dim).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(rows, length, self.kv_heads, self.head_dim).transpose(1, 2)
        if length >= LONG:
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            q = (q * self.head_dim**-0.5).reshape(rows, self.kv_heads, group * length, self.head_dim)
            scores = (q @ k.mT).view(rows, self.kv_heads, group, length, length) + mask
            mixed = scores.softmax(-1).view(rows, self.kv_heads, group * length, length) @ v
            mixed = mixed.view(rows, self.heads, length, self.head_dim)
        return self.o_proj(mixed.transpose(1, 2).reshape(rows, length, -1))


class Mlp(nn.Module):
    """The gated feed-forward part (SwiGLU, Shazeer 2020)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One decoder layer: attention, then feed-forward, each behind a norm and added on."""

    def __init__(self, shape: dict[str, int], eps: float) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape["hidden_size"], eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape["hidden_size"], eps)
        self.mlp = Mlp(shape["hidden_size"], shape["intermediate_size"])

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """The whole network, with tied embeddings."""

    def __init__(self, config: dict[str, float]) -> None:
        super().__init__()
        shape = {key: int(value) for key, value in config.items() if isinstance(value, int)}
        eps = config["rms_norm_eps"]
        self.embed_tokens = nn.Embedding(shape["vocab_size"], shape["hidden_size"])
        self.layers = nn.ModuleList(Layer(shape, eps) for _ in range(shape["num_hidden_layers"]))
        self.norm = RMSNorm(shape["hidden_size"], eps)
        cos, sin = rotary_tables(shape["max_position_embeddings"], shape["head_dim"], config["rope_theta"])
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self._start(shape["num_hidden_layers"])

    def _start(self, layers: int) -> None:
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                narrow = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(weight, std=0.02 / (2 * layers) ** 0.5 if narrow else 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """The logits of every position."""
        return F.linear(self.hidden(tokens), self.embed_tokens.weight)

    def hidden(self, tokens: Tensor) -> Tensor:
        """What the last layer leaves at every position, behind the final norm."""
        length = tokens.shape[1]
        x = self.embed_tokens(tokens).float()
        dtype = self.embed_tokens.weight.dtype
        cos, sin = self.cos[:length].to(dtype), self.sin[:length].to(dtype)
        mask = torch.full((length, length), float("-inf"), dtype=dtype).triu(1)
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        return self.norm(x)
