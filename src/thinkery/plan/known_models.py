"""The configurations of models that recipes and papers name, so that planning needs no network.

The fields that sizes depend on, as they stand in each model's config.json on the Hub. Left out: everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def _dense(
    kind: str, vocabulary: int, hidden: int, inner: int, layers: int, heads: int, key_heads: int, *, tied: bool = False
) -> Mapping[str, Any]:
    return {
        "model_type": kind,
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "head_dim": 128 if kind == "qwen3" else hidden // heads,
        "tie_word_embeddings": tied,
    }


_QWEN2, _QWEN3, _LLAMA = (152064, 151936), 151936, 128256

CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "Qwen/Qwen2.5-0.5B": _dense("qwen2", _QWEN2[1], 896, 4864, 24, 14, 2, tied=True),
    "Qwen/Qwen2.5-1.5B": _dense("qwen2", _QWEN2[1], 1536, 8960, 28, 12, 2, tied=True),
    "Qwen/Qwen2.5-Math-1.5B": _dense("qwen2", _QWEN2[1], 1536, 8960, 28, 12, 2, tied=True),
    "Qwen/Qwen2.5-7B": _dense("qwen2", _QWEN2[0], 3584, 18944, 28, 28, 4),
    "Qwen/Qwen2.5-Math-7B": _dense("qwen2", _QWEN2[0], 3584, 18944, 28, 28, 4),
    "Qwen/Qwen2.5-14B": _dense("qwen2", _QWEN2[0], 5120, 13824, 48, 40, 8),
    "Qwen/Qwen2.5-32B": _dense("qwen2", _QWEN2[0], 5120, 27648, 64, 40, 8),
    "Qwen/Qwen3-0.6B-Base": _dense("qwen3", _QWEN3, 1024, 3072, 28, 16, 8, tied=True),
    "Qwen/Qwen3-1.7B-Base": _dense("qwen3", _QWEN3, 2048, 6144, 28, 16, 8, tied=True),
    "Qwen/Qwen3-4B-Base": _dense("qwen3", _QWEN3, 2560, 9728, 36, 32, 8, tied=True),
    "Qwen/Qwen3-8B-Base": _dense("qwen3", _QWEN3, 4096, 12288, 36, 32, 8),
    "Qwen/Qwen3-14B-Base": _dense("qwen3", _QWEN3, 5120, 17408, 40, 40, 8),
    "Qwen/Qwen3-32B": _dense("qwen3", _QWEN3, 5120, 25600, 64, 64, 8),
    "meta-llama/Llama-3.1-8B": _dense("llama", _LLAMA, 4096, 14336, 32, 32, 8),
    "meta-llama/Llama-3.3-70B-Instruct": _dense("llama", _LLAMA, 8192, 28672, 80, 64, 8),
    "Qwen/Qwen3-30B-A3B": {
        **_dense("qwen3", _QWEN3, 2048, 6144, 48, 32, 4),
        "model_type": "qwen3_moe",
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
    },
    "deepseek-ai/DeepSeek-V3-Base": {
        "model_type": "deepseek_v3",
        "vocab_size": 129280,
        "hidden_size": 7168,
        "intermediate_size": 18432,
        "moe_intermediate_size": 2048,
        "num_hidden_layers": 61,
        "first_k_dense_replace": 3,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "num_attention_heads": 128,
        "q_lora_rank": 1536,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "tie_word_embeddings": False,
        "quantization_config": {"quant_method": "fp8"},
    },
}
