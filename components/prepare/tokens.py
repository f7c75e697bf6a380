"""Chat templates and token ids of prompts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.contract.config import DataSection
from components.contract.errors import InputError
from components.prepare.prompts import Prompt
from components.prepare.rows import BadRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BATCH = 1024


@dataclass(frozen=True)
class RenderedPrompt:
    """A prompt as the engine gets it: `text` with the template applied, and its `token_ids`."""

    source: Prompt
    text: str
    token_ids: list[int]


class Renderer:
    """Applies `data.chat` and `data.system_prompt` and tokenises.

    With a chat template, text becomes a user message and the template opens the assistant's turn; token ids
    are those of the rendered text alone, because a template writes its own special tokens. Without one, messages
    are joined by blank lines, and the tokenizer adds the special tokens it adds by default.

    Raises:
        InputError: `data.chat` is `always` and the tokenizer has no template.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", data: DataSection, max_prompt_tokens: int) -> None:
        has_template = tokenizer.chat_template is not None
        if data.chat == "always" and not has_template:
            raise InputError("data.chat is always, but the model's tokenizer has no chat template; use auto or never")
        self._chat = has_template and data.chat != "never"
        self._tokenizer = tokenizer
        self._system_prompt = data.system_prompt
        self._max_prompt_tokens = max_prompt_tokens

    def render(self, prompts: list[Prompt]) -> tuple[list[RenderedPrompt], list[BadRow]]:
        """Prompts with their token ids, and those the template refuses or that are too long."""
        rendered: list[RenderedPrompt] = []
        bad: list[BadRow] = []
        texts = []
        for prompt in prompts:
            try:
                texts.append((prompt, self._text(prompt)))
            except Exception as error:  # a template may raise anything
                bad.append(BadRow(prompt.number, f"the chat template refuses it: {error}", prompt.file))
        for prompt, text, token_ids in self._tokenise(texts):
            if not token_ids:
                bad.append(BadRow(prompt.number, "prompt has no tokens", prompt.file))
            elif len(token_ids) > self._max_prompt_tokens:
                bad.append(
                    BadRow(
                        prompt.number,
                        f"prompt has {len(token_ids)} tokens, and beside the longest completion model.max_length "
                        f"leaves {self._max_prompt_tokens}",
                        prompt.file,
                    )
                )
            else:
                rendered.append(RenderedPrompt(prompt, text, token_ids))
        return rendered, sorted(bad, key=lambda row: row.place)

    def _text(self, prompt: Prompt) -> str:
        messages = list(prompt.content) if not isinstance(prompt.content, str) else []
        if isinstance(prompt.content, str):
            if self._system_prompt:
                messages.append({"role": "system", "content": self._system_prompt})
            messages.append({"role": "user", "content": prompt.content})
        if not self._chat:
            return "\n\n".join(message["content"] for message in messages)
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert isinstance(text, str)
        return text

    def _tokenise(self, texts: list[tuple[Prompt, str]]) -> Iterator[tuple[Prompt, str, list[int]]]:
        for begin in range(0, len(texts), _BATCH):
            batch = texts[begin : begin + _BATCH]
            encoded = self._tokenizer(
                [text for _, text in batch], add_special_tokens=not self._chat, verbose=False
            ).input_ids
            for (prompt, text), token_ids in zip(batch, encoded, strict=True):
                yield prompt, text, token_ids
