"""The recipe: what to train, typed. Loads YAML, applies overrides, refuses what is unknown or contradicts itself.

Left out: whether a model, a reward or a problem file exists, which only the packages above can know; they say so before
their stage's first step.
"""

from thinkery.recipe.base import BASE, Name
from thinkery.recipe.cluster import ClusterSpec
from thinkery.recipe.data import (
    CorpusSpec,
    DataSpec,
    EvalSpec,
    JudgeSpec,
    ProbeSpec,
    ProblemSpec,
    RewardSpec,
)
from thinkery.recipe.load import build_recipe, diff_recipes, load_recipe, load_verification
from thinkery.recipe.preference import JudgeStage, RewardModelStage
from thinkery.recipe.recipe import KINDS, PERMISSIONS, TRUST_REMOTE_CODE, UNSAFE_LOCAL, Recipe, Stage, stage_kinds
from thinkery.recipe.rl import MODEL_REWARDS, PRESETS, RLStage
from thinkery.recipe.rollout import NativeRolloutSpec, RolloutBackend, RolloutSpec, VLLMSpec
from thinkery.recipe.stage import CostEstimator, StageBase
from thinkery.recipe.stages import CollectStage, PretrainStage, ReadableSpec, RefineSpec, SFTStage
from thinkery.types import Dtype

__all__ = [
    "BASE",
    "KINDS",
    "MODEL_REWARDS",
    "PERMISSIONS",
    "PRESETS",
    "TRUST_REMOTE_CODE",
    "UNSAFE_LOCAL",
    "ClusterSpec",
    "CollectStage",
    "CorpusSpec",
    "CostEstimator",
    "DataSpec",
    "Dtype",
    "EvalSpec",
    "JudgeSpec",
    "JudgeStage",
    "Name",
    "NativeRolloutSpec",
    "PreferenceSet",
    "PretrainStage",
    "ProbeSpec",
    "ProblemSpec",
    "RLStage",
    "ReadableSpec",
    "Recipe",
    "RefineSpec",
    "RewardModelStage",
    "RewardSpec",
    "RolloutBackend",
    "RolloutSpec",
    "SFTStage",
    "Stage",
    "StageBase",
    "VLLMSpec",
    "build_recipe",
    "diff_recipes",
    "load_recipe",
    "load_verification",
    "stage_kinds",
]
