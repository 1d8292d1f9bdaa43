"""Hugging Face checkpoints in and out, the attention function, and the template that travels with the weights."""

from thinkery.models.attention import CausalLayout, Layout, hidden_states
from thinkery.models.loading import Policy, load_policy, resolve_model, save_policy
from thinkery.models.template import TEMPLATES, Parsed, Template

__all__ = [
    "TEMPLATES",
    "CausalLayout",
    "Layout",
    "Parsed",
    "Policy",
    "Template",
    "hidden_states",
    "load_policy",
    "resolve_model",
    "save_policy",
]
