"""A small GPT in plain PyTorch: pre-norm blocks, causal attention, learned positions. Tokens in, summed loss out.

Sequences have `block` + 1 tokens, int32, and -1 where there is none: each predicts the next. Losses are summed over the
targets that are there, not averaged: what a step divides by is known only when all ranks have told their targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from sealift.training.config import Model


class Attention(nn.Module):  # type: ignore[misc]
    """Causal self-attention; [sequences, tokens, width] to the same."""

    def __init__(self, shape: Model) -> None:
        super().__init__()
        self.heads, self.dropout = shape.heads, shape.dropout
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Any) -> Any:
        """What each token takes from itself and those before it."""
        sequences, tokens, width = x.shape
        q, k, v = self.qkv(x).view(sequences, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        return self.out(mixed.transpose(1, 2).reshape(sequences, tokens, width))


class Block(nn.Module):  # type: ignore[misc]
    """Attention, then a perceptron, each added to what came in."""

    def __init__(self, shape: Model) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = (nn.RMSNorm(shape.width) for _ in range(2))
        self.attention = Attention(shape)
        self.up = nn.Linear(shape.width, 4 * shape.width, bias=False)
        self.down = nn.Linear(4 * shape.width, shape.width, bias=False)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x: Any) -> Any:
        """[sequences, tokens, width] to the same."""
        x = x + self.dropout(self.attention(self.before_attention(x)))
        return x + self.dropout(self.down(functional.gelu(self.up(self.before_mlp(x)))))


class GPT(nn.Module):  # type: ignore[misc]
    """The model of a configuration's [model]; what is drawn is drawn from torch's generator."""

    def __init__(self, shape: Model) -> None:
        super().__init__()
        self.embed = nn.Embedding(shape.vocabulary, shape.width)
        self.place = nn.Embedding(shape.block, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:  # GPT-2's: what is added to the residual stream is smaller in a deeper model
                residual = name.endswith(("attention.out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * shape.layers) ** 0.5 if residual else 0.02)

    def forward(self, sequences: Any) -> Any:
        """The loss in nats, summed over the targets of int32 [sequences, block + 1]; a scalar in float32."""
        known = sequences.long()
        tokens, targets = known[:, :-1].clamp(min=0), known[:, 1:]
        x = self.embed(tokens) + self.place.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x)).float()
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum")


def optimizer(model: nn.Module, lr: float, weight_decay: float, *, fused: bool) -> torch.optim.Optimizer:
    """AdamW; norms are not decayed."""
    parameters = list(model.parameters())
    groups = [
        {"params": [each for each in parameters if each.dim() >= 2], "weight_decay": weight_decay},
        {"params": [each for each in parameters if each.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=fused)
