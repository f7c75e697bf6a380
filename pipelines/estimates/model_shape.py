"""The sizes and parameter counts of a decoder-only transformer, from its config.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.contract.errors import InputError
from components.contract.train_config import LoraSection
from components.prepare.policy import longest_sequence


@dataclass(frozen=True)
class _Family:
    """Properties of a `model_type` that are in its modelling code, not in its config.json.

    Attributes:
        norms: RMS norms of a layer, each as wide as the hidden states.
        head_norms: whether queries and keys have norms, each as wide as a head.
        qkv_biases: whether these projections always have biases.
        tied, head_width: defaults of values that config.json may omit.
        windowed: every how many layers one attends to all tokens, the others to a window; 1: every layer to all tokens.
    """

    norms: int = 2
    head_norms: bool = False
    qkv_biases: bool = False
    tied: bool = False
    head_width: int | None = None
    windowed: int = 1


_FAMILIES: dict[str, _Family] = {
    "llama": _Family(),
    "mistral": _Family(),
    "granite": _Family(),
    "qwen2": _Family(qkv_biases=True),
    "qwen3": _Family(head_norms=True, head_width=128),
    "gemma": _Family(tied=True, head_width=256),
    "gemma2": _Family(norms=4, tied=True, head_width=256, windowed=2),
    "gemma3_text": _Family(norms=4, head_norms=True, tied=True, head_width=256, windowed=6),
}


_SIZES = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a transformer with gated MLPs and rotary positions.

    Attributes:
        width: size of the hidden states.
        intermediate: inner size of the MLP.
        tied: whether the output head is the embedding.
        window: tokens that each of `windowed_layers` layers attends to.
        positions: the longest sequence that the model supports; None if unknown or extended by scaling.
    """

    model_type: str
    layers: int
    width: int
    intermediate: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    tied: bool
    norms: int
    head_norms: bool
    qkv_biases: bool
    attention_bias: bool
    mlp_bias: bool
    window: int
    windowed_layers: int
    positions: int | None

    @classmethod
    def of(cls, config: Mapping[str, Any], where: str) -> "ModelShape":
        """Read a parsed config.json.

        Raises:
            InputError: there are no formulas for the architecture, or a size is missing.
        """
        kind = str(config.get("model_type"))
        family = _FAMILIES.get(kind)
        if family is None:
            raise InputError(
                f"{where} has model_type {kind!r}, for which there are no formulas; known are "
                f"{', '.join(sorted(_FAMILIES))}"
            )
        try:
            layers, width, intermediate, heads, vocabulary = (_size(config, key) for key in _SIZES)
            window = int(config.get("sliding_window") or 0)
            return cls(
                model_type=kind,
                layers=layers,
                width=width,
                intermediate=intermediate,
                heads=heads,
                kv_heads=int(config.get("num_key_value_heads") or heads),
                head_width=int(config.get("head_dim") or family.head_width or width // heads),
                vocabulary=vocabulary,
                tied=bool(config.get("tie_word_embeddings", family.tied)),
                norms=family.norms,
                head_norms=family.head_norms,
                qkv_biases=family.qkv_biases,
                attention_bias=bool(config.get("attention_bias")),
                mlp_bias=bool(config.get("mlp_bias")),
                window=window,
                windowed_layers=_windowed(config, kind, family, layers) if window else 0,
                positions=longest_sequence(config),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{where} has no usable sizes: {error}") from None

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """Linear layers of one decoder layer by name: (inputs, outputs)."""
        queries, keys = self.heads * self.head_width, self.kv_heads * self.head_width
        return {
            "q_proj": (self.width, queries),
            "k_proj": (self.width, keys),
            "v_proj": (self.width, keys),
            "o_proj": (queries, self.width),
            "gate_proj": (self.width, self.intermediate),
            "up_proj": (self.width, self.intermediate),
            "down_proj": (self.intermediate, self.width),
        }

    @property
    def layer_parameters(self) -> int:
        """Parameters of one decoder layer: matrices, biases and norms."""
        queries, keys = self.heads * self.head_width, self.kv_heads * self.head_width
        biases = (queries + 2 * keys) if self.qkv_biases or self.attention_bias else 0
        biases += self.width if self.attention_bias else 0
        biases += (2 * self.intermediate + self.width) if self.mlp_bias else 0
        norms = self.norms * self.width + (2 * self.head_width if self.head_norms else 0)
        return sum(inputs * outputs for inputs, outputs in self.projections.values()) + biases + norms

    @property
    def root_parameters(self) -> int:
        """Parameters outside the layers: embedding, output head if it is not tied, last norm."""
        return self.vocabulary * self.width * (1 if self.tied else 2) + self.width

    @property
    def parameters(self) -> int:
        """All parameters, tied ones counted once."""
        return self.layers * self.layer_parameters + self.root_parameters

    def adapter_parameters(self, lora: LoraSection) -> int:
        """Return the parameters of low-rank adapters: rank x (inputs + outputs) per matrix (arXiv 2106.09685)."""
        names = lora.targets if isinstance(lora.targets, tuple) else tuple(self.projections)
        adapted = [sizes for name, sizes in self.projections.items() if name.endswith(names)]
        return self.layers * sum(lora.rank * (inputs + outputs) for inputs, outputs in adapted)


def _size(config: Mapping[str, Any], key: str) -> int:
    value = int(config[key])
    if value < 1:
        raise ValueError(f"{key} is {value}")
    return value


def _windowed(config: Mapping[str, Any], kind: str, family: _Family, layers: int) -> int:
    """Return how many layers attend to a window only."""
    if listed := config.get("layer_types"):
        return sum(name == "sliding_attention" for name in listed)
    if "use_sliding_window" in config:
        # The first max_window_layers layers attend to all tokens.
        return max(0, layers - int(config.get("max_window_layers", 28))) if config["use_sliding_window"] else 0
    if kind == "mistral":
        return layers
    every = int(config.get("sliding_window_pattern") or family.windowed)
    return layers - layers // every
