"""Train stage: importance-weighted updates of the policy on the completions of one iteration."""
