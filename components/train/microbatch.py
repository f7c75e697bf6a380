"""The tensors of one forward pass."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from components.train.packing import packed_inputs
from components.train.trajectories import Trajectories


@dataclass(frozen=True)
class MicroBatch:
    """Sequences of one forward pass, padded on the right side by side or packed into one row.

    The last token of a sequence predicts nothing and is left out. Under causal attention no token sees what
    stands right of it, so real tokens have their own positions 0, 1, 2, ... and padding changes nothing.

    Attributes:
        rows_N: int64, the sequences' places in their mini-batch.
        inputs: what the decoder gets by name; `input_ids` is int64 [sequences, longest] or, packed, [1, tokens].
        predictors_T: int64, places in the flattened input that predict the completion tokens.
        targets_T: int64, the completion tokens.
        behaviour_logprobs_T: float32.
        sequence_T: int64, the token's sequence in this micro-batch.
    """

    rows_N: Tensor
    inputs: dict[str, Tensor | int]
    predictors_T: Tensor
    targets_T: Tensor
    behaviour_logprobs_T: Tensor
    sequence_T: Tensor


def build_micro_batch(
    data: Trajectories, rows: np.ndarray, part: np.ndarray, packed: bool, device: torch.device
) -> MicroBatch:
    """The sequences `rows[part]` of `data`."""
    chosen = rows[part]
    starts, lengths = data.starts[chosen], np.diff(data.starts)[chosen] - 1
    prompts = data.prompt_lengths[chosen]
    place = np.arange(int(lengths.max()))
    real_BT = place < lengths[:, None]
    predicts_BT = real_BT & (place >= prompts[:, None] - 1)
    behaviour = data.behaviour_starts[chosen][:, None] + place - (prompts[:, None] - 1)
    tokens = data.tokens[(starts[:, None] + place)[real_BT]]
    inputs: dict[str, Tensor | int]
    if packed:
        inputs = packed_inputs(torch.from_numpy(tokens[None]).to(device), lengths.tolist())
        predictors = np.flatnonzero(predicts_BT[real_BT])
    else:
        input_ids_BT = np.zeros(real_BT.shape, dtype=np.int64)
        input_ids_BT[real_BT] = tokens
        inputs = {
            "input_ids": torch.from_numpy(input_ids_BT).to(device),
            "attention_mask": torch.from_numpy(real_BT.astype(np.int64)).to(device),
        }
        predictors = np.flatnonzero(predicts_BT)
    return MicroBatch(
        rows_N=torch.from_numpy(part).to(device),
        inputs=inputs,
        predictors_T=torch.from_numpy(predictors).to(device),
        targets_T=torch.from_numpy(data.tokens[(starts[:, None] + place + 1)[predicts_BT]]).to(device),
        behaviour_logprobs_T=torch.from_numpy(data.behaviour_logprobs[behaviour[predicts_BT]]).to(device),
        sequence_T=torch.from_numpy(np.nonzero(predicts_BT)[0]).to(device),
    )
