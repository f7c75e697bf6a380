"""The reward stage: graders score completions, in processes that can be killed."""
