"""The prompts, completions, tokens and updates of a run."""

from dataclasses import dataclass

from components.contract.config import RunConfig


@dataclass(frozen=True)
class PromptTokens:
    """Lengths of the prompts of one split.

    Attributes:
        mean, longest: in tokens.
        counted: whether the model's tokenizer counted them; otherwise they are estimated from characters.
    """

    mean: float
    longest: int
    counted: bool


@dataclass(frozen=True)
class Sampled:
    """Amounts of one sampling.

    Attributes:
        prompts: prompts, each of which the engine computes once for all its completions.
        completions: sampled completions.
        prompt_tokens: tokens of the prompts; None if their lengths are unknown.
        most_tokens: completion tokens if every completion has the maximum length.
    """

    prompts: int
    completions: int
    prompt_tokens: int | None
    most_tokens: int

    def __add__(self, other: "Sampled") -> "Sampled":
        known = self.prompt_tokens is not None and other.prompt_tokens is not None
        return Sampled(
            self.prompts + other.prompts,
            self.completions + other.completions,
            (self.prompt_tokens or 0) + (other.prompt_tokens or 0) if known else None,
            self.most_tokens + other.most_tokens,
        )

    def __mul__(self, times: int) -> "Sampled":
        tokens = None if self.prompt_tokens is None else self.prompt_tokens * times
        return Sampled(self.prompts * times, self.completions * times, tokens, self.most_tokens * times)


@dataclass(frozen=True)
class WorkEstimate:
    """Amounts of a run.

    Attributes:
        training: sampled in each iteration.
        held_out: sampled in an iteration that evaluates, and once more after the last one.
        steps: updates of an iteration, at most.
        sequences: completions that an iteration trains on, each once.
        iterations: iterations still to run.
        evaluations: how often held-out prompts are still sampled.
        tokens_per_completion: mean length so far; None if nothing is sampled yet.
    """

    training: Sampled
    held_out: Sampled
    steps: int
    sequences: int
    iterations: int
    evaluations: int
    tokens_per_completion: float | None

    @property
    def iteration(self) -> Sampled:
        """The most that an iteration samples: one that evaluates."""
        return self.training + self.held_out

    @property
    def run(self) -> Sampled:
        """Everything still to be sampled."""
        return self.training * self.iterations + self.held_out * self.evaluations

    def expected_tokens(self, sampled: Sampled) -> int | None:
        """Return the completion tokens at the mean length so far."""
        mean = self.tokens_per_completion
        return None if mean is None else round(mean * sampled.completions)


def estimate_work(
    config: RunConfig,
    train: PromptTokens | None = None,
    held_out: PromptTokens | None = None,
    done: int = 0,
    tokens_per_completion: float | None = None,
) -> WorkEstimate:
    """Estimate the work of a run.

    Args:
        train, held_out: lengths of the prompts; None if unknown.
        done: committed iterations.
        tokens_per_completion: mean length of the completions so far; None if there are none.
    """
    rollout, evaluate, section = config.rollout, config.evaluate, config.train
    longest_held_out = evaluate.max_tokens or rollout.max_tokens
    return WorkEstimate(
        training=_sampled(config.prompts_per_iteration, rollout.group_size, rollout.max_tokens, train),
        held_out=_sampled(config.data.eval_prompts, evaluate.samples, longest_held_out, held_out),
        steps=section.updates.most,
        sequences=section.updates.most * section.mini_batch_prompts * rollout.group_size,
        iterations=max(0, config.loop.iterations - done),
        evaluations=1 + sum(map(evaluate.in_iteration, range(done + 1, config.loop.iterations + 1))),
        tokens_per_completion=tokens_per_completion,
    )


def _sampled(prompts: int, samples: int, longest: int, lengths: PromptTokens | None) -> Sampled:
    tokens = None if lengths is None else round(prompts * lengths.mean)
    return Sampled(prompts, prompts * samples, tokens if prompts else 0, prompts * samples * longest)
