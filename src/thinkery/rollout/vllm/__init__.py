"""The vLLM rollout backend: vLLM gives the forward passes, tokens are drawn with the native counter-based numbers."""
