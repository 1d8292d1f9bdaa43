"""The native rollout backend: completions sampled in this process, from the very weights that learn."""
