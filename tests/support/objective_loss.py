"""The loss of an objective over a whole mini-batch, composed of its parts as they are defined."""

from torch import Tensor

from components.train.objectives import Completions, Objective, Tokens, segment_sum, sequence_log_ratio, token_scales


def objective_loss(
    objective: Objective,
    logprobs_T: Tensor,
    behaviour_logprobs_T: Tensor,
    sequence_T: Tensor,
    rewards_N: Tensor,
    group_N: Tensor,
    trained_N: Tensor | None = None,
    longest: int = 7,
    threshold: float = 0.5,
) -> tuple[Tensor, Tensor]:
    """Loss of a whole mini-batch (scalar, with gradient to `logprobs_T`) and its advantage_N.

    Sequences that are not trained have no loss, and their rewards count all the same.
    """
    sequences = len(rewards_N)
    log_ratio_N = sequence_log_ratio(logprobs_T.detach(), behaviour_logprobs_T, sequence_T, sequences)
    completions = Completions(log_ratio_N, rewards_N, group_N, rewards_N > threshold)
    advantage_N = objective.advantage(completions)
    loss_T, _ = objective.surrogate(Tokens(logprobs_T, behaviour_logprobs_T, sequence_T, advantage_N))
    lengths_N = segment_sum(sequence_T.new_ones(len(sequence_T)), sequence_T, sequences)
    if trained_N is not None:
        lengths_N = lengths_N * trained_N
        loss_T = loss_T * trained_N[sequence_T]
    return (loss_T * token_scales(objective.normalisation, lengths_N, longest)[sequence_T]).sum(), advantage_N
