"""Whether the trajectories come from the policy that they name.

With the policy that sampled, log pi - log mu is nearly 0. A gap means stale engine weights, another tokenizer,
template or temperature, all of which would otherwise train silently on noise.
"""

import torch

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.train.batching import MicroBatchLimits, build_mini_batch, group_order, shape_rewards
from components.train.diagnostics import TokenMeans, TokenSums
from components.train.logprobs import Scorer
from components.train.policy import is_packed
from components.train.processes import Processes
from components.train.trajectories import Trajectories


def check_gap(tokens: TokenMeans, limit: float) -> None:
    """Refuse what the policy that sampled cannot have sampled.

    Raises:
        InputError: the mean gap per token exceeds `limit`, nats.
    """
    if not tokens.gap_mean <= limit:
        raise InputError(
            f"engine and trainer disagree by {tokens.gap_mean:.3g} nats a token (at most {tokens.gap_max:.3g}), more "
            f"than train.max_logprob_gap {limit}: the rollout engine had other weights, another tokenizer, template "
            "or temperature than this policy; sample again with it"
        )


@torch.no_grad()
def behaviour_gap(
    behaviour: Scorer, data: Trajectories, config: RunConfig, iteration: int, processes: Processes
) -> TokenMeans | None:
    """The gap of the pass's first mini-batch under the policy that sampled it; None where there is no mini-batch."""
    section = config.train
    data = shape_rewards(data, section.overlong)
    drop = section.zero_signal_groups == "drop"
    order = group_order(data, section.updates, section.mini_batch_prompts, drop, config.run.seed, iteration)
    if not order.mini_batches:
        return None
    limits = MicroBatchLimits(section.micro_batch_tokens, is_packed(behaviour.model))
    batch = build_mini_batch(data, order.mini_batches[0], limits, False, False, processes)
    sums = TokenSums(batch.rewards_N.device)
    for micro, counts in zip(batch.micro_batches, batch.counted, strict=True):
        logprobs_T, entropy_T = behaviour(micro)
        if counts:
            sums.add(logprobs_T - micro.behaviour_logprobs_T, entropy_T, torch.zeros_like(entropy_T))
    return sums.over(processes)
