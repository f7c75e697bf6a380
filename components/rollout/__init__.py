"""Rollout stage: sample completions of the current policy with vLLM, with behaviour log-probabilities."""
