"""The recipe: what to train, typed. Loads YAML, applies overrides, refuses what is unknown or contradicts itself.

Left out: whether a model, a reward or a problem file exists, which only the rooms above can know; they say so before
their stage's first step.
"""

from thinkery.recipe.base import BASE, Dtype, Name
from thinkery.recipe.cluster import Ahead, ClusterSpec
from thinkery.recipe.data import (
    CorpusSpec,
    DataSpec,
    EvalSpec,
    JudgeSpec,
    Preference,
    ProbeSpec,
    ProblemSpec,
    RewardSpec,
)
from thinkery.recipe.load import build_recipe, diff_recipes, load_recipe, load_verification
from thinkery.recipe.recipe import DATA, MODEL_REWARDS, POLICIES, Recipe, Stage, data_references, model_references
from thinkery.recipe.rl import PRESETS, RLStage
from thinkery.recipe.stages import (
    CollectStage,
    JudgeStage,
    PretrainStage,
    ReadableSpec,
    RefineSpec,
    RewardModelStage,
    SFTStage,
)
from thinkery.recipe.vllm import VLLMSpec

__all__ = [
    "BASE",
    "DATA",
    "MODEL_REWARDS",
    "POLICIES",
    "PRESETS",
    "Ahead",
    "ClusterSpec",
    "CollectStage",
    "CorpusSpec",
    "DataSpec",
    "Dtype",
    "EvalSpec",
    "JudgeSpec",
    "JudgeStage",
    "Name",
    "Preference",
    "PretrainStage",
    "ProbeSpec",
    "ProblemSpec",
    "RLStage",
    "ReadableSpec",
    "Recipe",
    "RefineSpec",
    "RewardModelStage",
    "RewardSpec",
    "SFTStage",
    "Stage",
    "VLLMSpec",
    "build_recipe",
    "data_references",
    "diff_recipes",
    "load_recipe",
    "load_verification",
    "model_references",
]
