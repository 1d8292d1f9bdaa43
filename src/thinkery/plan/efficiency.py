"""What of a machine's peaks a program reaches: published figures for clusters, each with its source, and one's own.

The published figures are of whole systems, so what no formula here knows (imbalance, kernels, waiting) is in them. None
was chosen to meet the cost that DeepSeek-R1's authors state: ``tests/planning`` derives them again from their sources.
Left out: figures of this project's own cluster code.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Efficiency:
    """Shares of a peak, and the seconds a decoding step costs beyond what it computes and reads."""

    training: float  # of the peak of bf16 products, in an update
    forward: float  # the same in a forward without gradient, or over prompts
    decoding: float  # of the better of what memory and products allow, while decoding
    layer_s: float  # seconds a layer of a decoding step, within one node
    layer_across_s: float  # the same where a replica spans nodes
    network: float  # of the links' bandwidth
    sources: tuple[str, ...]


# Counted by this project's formulas:
# - training: 1e12 tokens in 180,000 hours of an H800, 4,096 tokens a sequence, is 0.391 of its bf16 peak.
# - forward: 32,200 tokens/s a node that are in no cache, of 4,096 a prompt, is 0.332.
# - decoding, layer_across_s: the two unknowns of two measured points, 42 tokens/s of each of a few sequences (taken as
#   one a GPU) and 20 of each of 91.7 a GPU, on 144 GPUs with multi-token prediction, 4,096 tokens of prompt and half of
#   2,048 of completion in the cache: 0.372 and 114 us.
MIXTURE = Efficiency(
    training=0.39,
    forward=0.33,
    decoding=0.37,
    layer_s=40e-6,
    layer_across_s=115e-6,
    network=0.8,
    sources=(
        "training: 180K H800 hours for 1T tokens (DeepSeek-V3, arXiv 2412.19437, section 1)",
        "forward: 73.7k tokens/s a node of 8 H800, 56.3 % of them cached (DeepSeek-V3/R1 Inference System Overview)",
        "decoding: 42 tokens/s of one sequence, 20 of each of 13,200 on 144 H800 with multi-token prediction "
        "(RTP-LLM, DeepSeek Reproduce Tech Report; the latter agrees with DeepSeek's own 20 to 22 and 14.8k a node)",
        "network: 40 to 46 of 50 GB/s (DeepEP, H800, CX7)",
    ),
)
DENSE = Efficiency(
    training=0.38,
    forward=0.38,
    decoding=0.6,
    layer_s=20e-6,
    layer_across_s=115e-6,
    network=0.8,
    sources=(
        "training, forward: 0.38 to 0.43 at pre-training (Llama 3, arXiv 2407.21783, section 3.3.2), its lower end",
        "decoding: 0.6 of the memory's bandwidth, an assumption: engines are said to reach 0.6 to 0.85",
        "a layer of decoding: 20 us of launches and reductions, an assumption",
        "network: as measured for mixtures",
    ),
)
