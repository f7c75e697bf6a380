"""From a name in the configuration to an objective."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from components.contract.train_config import ObjectiveSection
from components.train.objectives import credit as credits
from components.train.objectives import surrogate as surrogates
from components.train.objectives.credit import Credit
from components.train.objectives.normalise import Normalise, scale
from components.train.objectives.surrogate import Surrogate

RAPID_BOUND = 2.0


@dataclass(frozen=True)
class Objective:
    """Attributes:
    credit: what each sequence's log-likelihood is pushed by.
    surrogate: the loss per token, and for each token whether a bound has stopped or capped its gradient.
    normalise: how tokens are averaged.
    credit_uses_ratio: whether `credit` looks at `log_ratio_N`; if not, it is known before any forward pass.
    bounds_tokens: whether the surrogate has a bound per token.
    truncation: the bound C on the sequence weights that diagnostics describe; RAPID's where an objective has none, so
        that effective sample sizes of different objectives compare.
    """

    credit: Credit
    surrogate: Surrogate
    normalise: Normalise
    credit_uses_ratio: bool = False
    bounds_tokens: bool = False
    truncation: float | None = RAPID_BOUND

    @property
    def token_local(self) -> bool:
        """Whether, once credit is known, the loss of a token depends on no other token."""
        return getattr(self.surrogate, "func", None) is not surrogates.clipped_sequences


def build_objective(section: ObjectiveSection, max_tokens: int, cloning_threshold: float) -> Objective:
    """The objective a configuration names.

    Args:
        max_tokens: the constant L of constant normalisation, longest completion.
        cloning_threshold: reward above which the sft objective clones a completion.
    """
    kind = section.normalisation
    assert kind is not None
    normalise = partial(scale, kind=kind, constant=max_tokens)
    match section.name:
        case "rapid":
            return _rapid(section, normalise)
        case "rapid_clip":
            return Objective(
                _with_baseline(credits.rapid_clip, section), _clipped(section), normalise, True, True, section.bound
            )
        case "pg":
            return Objective(credits.centred, surrogates.log_likelihood, normalise)
        case "rloo":
            return Objective(credits.leave_one_out, surrogates.log_likelihood, normalise)
        case "grpo" | "dapo":
            return Objective(credits.standardised, _clipped(section), normalise, bounds_tokens=True)
        case "dr_grpo":
            return Objective(credits.centred, _clipped(section), normalise, bounds_tokens=True)
        case "gspo":
            return Objective(credits.standardised, _clipped(section), normalise, bounds_tokens=True)
        case "cispo":
            return Objective(credits.standardised, _weighted(section), normalise, bounds_tokens=True)
        case "token_is":
            return Objective(credits.centred, _weighted(section), normalise, bounds_tokens=True)
        case "topr":
            return Objective(credits.tapered, surrogates.log_likelihood, normalise, True, truncation=1.0)
        case "sft":
            clone = partial(credits.verified, threshold=cloning_threshold)
            return Objective(clone, surrogates.log_likelihood, normalise)


def _rapid(section: ObjectiveSection, normalise: Normalise) -> Objective:
    if section.ratio == "token":
        # The weights have moved into the tokens; what is left of the credit is R - b.
        credit = _with_baseline(credits.rapid_clip, section)
        return Objective(credit, _weighted(section), normalise, True, True, section.bound)
    credit = _with_baseline(credits.rapid, section)
    return Objective(credit, surrogates.log_likelihood, normalise, True, truncation=section.bound)


def _with_baseline(credit: Callable[..., Tensor], section: ObjectiveSection) -> Credit:
    return partial(credit, truncation=section.bound, kind=section.baseline)


def _weighted(section: ObjectiveSection) -> Surrogate:
    return partial(surrogates.weighted_tokens, truncation=section.bound)


def _clipped(section: ObjectiveSection) -> Surrogate:
    assert section.clip is not None
    assert section.clip_high is not None
    by_sequence = section.name == "gspo" or section.ratio == "sequence"
    function = surrogates.clipped_sequences if by_sequence else surrogates.clipped_tokens
    return partial(function, clip=section.clip, clip_high=section.clip_high)
