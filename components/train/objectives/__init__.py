"""Policy-gradient objectives over token-packed tensors.

Shapes in names: `_T` completion tokens of all sequences one after the other, `_N` sequences. `sequence_T` maps
a token to its sequence, `group_N` a sequence to its group (the completions of one prompt). Log-probabilities are
float32 nats; pi is the policy that learns, mu the behaviour policy that sampled.

An objective has three parts. Its *credit* gives every sequence a detached number and needs whole groups. Its
*surrogate* turns log-probabilities and credit into a loss per token. Its *normalisation* says how tokens are averaged,
and needs only lengths. So the loss of a mini-batch can be summed over any split of its sequences into micro-batches.

    name         credit                                surrogate                          normalisation
    rapid        w_i (R_i - b), b = mean w R           log-likelihood                     sum
    rapid_clip   R_i - b                               clipped token ratio                sequence
    pg           R_i - mean                            log-likelihood                     sum
    rloo         R_i - mean of the others              log-likelihood                     sum
    grpo         (R_i - mean) / std                    clipped token ratio                sequence
    dr_grpo      R_i - mean                            clipped token ratio                constant
    dapo         (R_i - mean) / std                    clipped token ratio, higher above  token
    gspo         (R_i - mean) / std                    clipped sequence ratio             sequence
    cispo        (R_i - mean) / std                    log-likelihood, token weights      token
    token_is     R_i - mean                            log-likelihood, token weights      token
    topr         A_i, or min(rho_i, 1) A_i below 0     log-likelihood                     sum
    sft          1 where R_i > threshold, else 0       log-likelihood                     token
"""

from components.train.objectives.build import Objective, build_objective

__all__ = ["Objective", "build_objective"]
