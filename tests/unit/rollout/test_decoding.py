"""The text that graders see of a completion, whatever ended it."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from components.rollout.decoding import Ending, decode

WORDS = ["<pad>", "<eos>", "<|im_end|>", "<think>", "5", " is", " it", "\nUs", "er:", "\n\n"]
SECOND_END, THINK = 2, 3
LENGTH, OWN_END = Ending("length", None), Ending("stop", None)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """`<eos>` and `<think>` are special; `<|im_end|>`, a second end token, is not, as in some published models."""
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = decoders.Fuse()
    special = {"additional_special_tokens": ["<think>"]}
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>", **special)


@pytest.mark.parametrize(
    ("ids", "ending", "options", "expected"),
    [
        ([4, 5, 6, 1], OWN_END, "", "5 is it"),
        ([4, 5, 6, SECOND_END], Ending("stop", SECOND_END), "", "5 is it"),
        ([4, 5, 6, SECOND_END], OWN_END, "", "5 is it"),
        ([4, SECOND_END, 6], LENGTH, "", "5<|im_end|> it"),
        ([4, 5, 6], LENGTH, "", "5 is it"),
        ([4], Ending("abort", None), "", "5"),
        ([4, 7, 8], Ending("stop", "\nUser:"), "", "5"),
        ([4, 9, 4], Ending("stop", "\n"), "", "5"),
        ([4, 5], Ending("stop", "not in the text"), "", "5 is"),
        ([THINK, 4, 1], OWN_END, "", "5"),
        ([THINK, 4, 1], OWN_END, "special", "<think>5"),
        ([THINK, 4, 1], OWN_END, "stop special", "<think>5<eos>"),
        ([4, SECOND_END], Ending("stop", SECOND_END), "stop", "5<|im_end|>"),
        ([4, 1], OWN_END, "stop", "5"),
        ([4, 7, 8], Ending("stop", "\nUser:"), "stop", "5\nUser:"),
        ([4, 9], Ending("stop", "\n"), "stop", "5\n"),
        ([1], OWN_END, "", ""),
        ([4, 250], LENGTH, "", "5"),  # an embedding without a token, of a padded vocabulary
    ],
)
def test_the_text_ends_where_the_answer_does(tokenizer, ids, ending, options, expected):
    include_stop, skip = "stop" in options, "special" not in options
    other = ([4, 5], LENGTH)
    texts = decode(tokenizer, [ids, other[0]], [ending, other[1]], include_stop=include_stop, skip_special_tokens=skip)
    assert texts == [expected, "5 is"]
