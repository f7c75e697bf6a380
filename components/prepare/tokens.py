"""Chat templates and token ids of prompts."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from components.contract.config import DataSection
from components.contract.errors import InputError
from components.prepare.prompts import Prompt
from components.prepare.rows import BadRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BATCH = 1024
_UNDATED = datetime(1970, 1, 1, tzinfo=UTC)


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
    are joined by blank lines, and the tokenizer adds the special tokens that it adds by default before the text. Those
    that it adds behind it, such as an end-of-sequence token, would end the answer before it begins and are left out.

    A template that asks for the time gets the first second of `data.today`.

    Args:
        vocab_size: number of token ids with an embedding; None: not known.

    Raises:
        InputError: `data.chat` is `always` and the tokenizer has no template.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        data: DataSection,
        max_prompt_tokens: int,
        vocab_size: int | None = None,
    ) -> None:
        has_template = tokenizer.chat_template is not None
        if data.chat == "always" and not has_template:
            raise InputError("data.chat is always, but the model's tokenizer has no chat template; use auto or never")
        self._chat = has_template and data.chat != "never"
        self._tokenizer = tokenizer
        self._system_prompt = data.system_prompt
        self._max_prompt_tokens = max_prompt_tokens
        self._vocab_size = vocab_size
        self._now = datetime.fromisoformat(data.today) if data.today else datetime.now(UTC)
        self._appended = [] if self._chat else _appended_tokens(tokenizer)
        self.writes_date = False
        """True once the template has asked for the time."""

    @property
    def date(self) -> str:
        return self._now.date().isoformat()

    @property
    def remarks(self) -> list[str]:
        """Lines on what was done that a person may not expect."""
        lines = []
        if self._appended:
            names = " ".join(map(str, self._tokenizer.convert_ids_to_tokens(self._appended)))
            lines.append(f"the tokenizer appends {names} to every text; it is left out of the prompts")
        if self.writes_date:
            lines.append(f"the chat template writes the date into every prompt: {self.date}, set by data.today")
        return lines

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
            if reason := self._unfit(token_ids):
                bad.append(BadRow(prompt.number, reason, prompt.file))
            else:
                rendered.append(RenderedPrompt(prompt, text, token_ids))
        return rendered, sorted(bad, key=lambda row: row.place)

    def _unfit(self, token_ids: list[int]) -> str | None:
        if not token_ids:
            return "prompt has no tokens"
        if len(token_ids) > self._max_prompt_tokens:
            return (
                f"prompt has {len(token_ids)} tokens, and beside the longest completion model.max_length leaves "
                f"{self._max_prompt_tokens}"
            )
        highest = max(token_ids)
        if self._vocab_size is not None and highest >= self._vocab_size:
            name = self._tokenizer.convert_ids_to_tokens(highest)
            return f"prompt has the token {name} ({highest}), and the model has embeddings for {self._vocab_size} only"
        return None

    def undated_text(self, prompt: Prompt) -> str:
        """Return the rendered text as of a fixed date, which is the same on every day."""
        return self._text(prompt, _UNDATED)

    def _text(self, prompt: Prompt, now: datetime | None = None) -> str:
        messages = list(prompt.content) if not isinstance(prompt.content, str) else []
        if isinstance(prompt.content, str):
            if self._system_prompt:
                messages.append({"role": "system", "content": self._system_prompt})
            messages.append({"role": "user", "content": prompt.content})
        if not self._chat:
            return "\n\n".join(message["content"] for message in messages)

        def strftime_now(pattern: str) -> str:
            self.writes_date = True
            return (now or self._now).strftime(pattern)

        text = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, strftime_now=strftime_now
        )
        assert isinstance(text, str)
        return text

    def _tokenise(self, texts: list[tuple[Prompt, str]]) -> Iterator[tuple[Prompt, str, list[int]]]:
        for begin in range(0, len(texts), _BATCH):
            batch = texts[begin : begin + _BATCH]
            encoded = self._tokenizer(
                [text for _, text in batch], add_special_tokens=not self._chat, verbose=False
            ).input_ids
            for (prompt, text), token_ids in zip(batch, encoded, strict=True):
                yield prompt, text, token_ids[: len(token_ids) - len(self._appended)]


def _appended_tokens(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the special tokens that a tokenizer puts behind every text."""
    plain = tokenizer("1", add_special_tokens=False, verbose=False).input_ids
    whole = tokenizer("1", verbose=False).input_ids
    place = next((i for i in range(len(whole), -1, -1) if plain and whole[i : i + len(plain)] == plain), None)
    return [] if place is None else list(whole[place + len(plain) :])
