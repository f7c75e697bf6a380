"""Estimates against what is really built, written and measured."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from benchmarks.training.flops import parameters
from benchmarks.training.workload import TINY, Workload, draw
from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.schemas import TRAJECTORIES, with_metadata
from components.contract.train_config import LoraSection
from components.store.parquet import encode
from pipelines.estimates.memory_estimate import activation_bytes, engine_memory, micro_batch_tokens, training_memory
from pipelines.estimates.model_shape import ModelShape
from pipelines.estimates.storage_estimate import estimate_storage, trajectory_bytes
from pipelines.estimates.work_estimate import PromptTokens, Sampled, estimate_work

ROOT = Path(__file__).parents[3]
MODELS = ROOT / "configs" / "paper" / "models"
UPDATE = ROOT / "benchmarks" / "results" / "update.json"

MEASURED_OVER_ESTIMATED = (1.0, 1.6)
"""A CPU process has its peak above the formula: what glibc keeps, kernels' workspaces, the mini-batch itself."""

Configure = Callable[..., RunConfig]


def build(config: Any) -> Any:
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def shape_of(config: Any) -> ModelShape:
    """From what transformers writes to config.json."""
    return ModelShape.of(json.loads(config.to_json_string()), "config.json")


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen2", {"tie_word_embeddings": False}),
        ("qwen3", {"head_dim": 24}),
        ("llama", {}),
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("mistral", {}),
        ("granite", {}),
        ("gemma", {"head_dim": 24}),
        ("gemma2", {"head_dim": 24}),
        ("gemma3_text", {"head_dim": 24}),
        ("gemma3_text", {"head_dim": 24, "tie_word_embeddings": False}),
    ],
)
def test_parameters_are_those_of_the_model_that_transformers_builds(model_type: str, settings: dict[str, Any]) -> None:
    from transformers import AutoConfig

    sizes = {"hidden_size": 64, "intermediate_size": 136, "num_hidden_layers": 7, "vocab_size": 200, "pad_token_id": 0}
    config = AutoConfig.for_model(model_type, **sizes, num_attention_heads=4, num_key_value_heads=2, **settings)
    built = build(config)
    shape = shape_of(config)
    assert shape.parameters == sum(parameter.numel() for parameter in built.parameters())
    layer = built.get_decoder().layers[0]
    assert shape.layer_parameters == sum(parameter.numel() for parameter in layer.parameters())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("Qwen2.5-0.5B", 494_032_768), ("Qwen2.5-1.5B", 1_543_714_304), ("gemma-3-1b-pt", 999_885_952)],
)
def test_the_papers_models_have_the_sizes_they_are_published_with(name: str, parameters: int) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(MODELS / name)
    shape = ModelShape.of(json.loads((MODELS / name / "config.json").read_text()), name)
    assert shape.parameters == parameters
    assert sum(parameter.numel() for parameter in build(config).parameters()) == parameters
    assert shape == shape_of(config)


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "v_proj")])
def test_adapters_are_as_large_as_those_of_peft(targets: Any) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(MODELS / "Qwen2.5-0.5B", num_hidden_layers=2)
    names = targets if isinstance(targets, str) else list(targets)
    adapted = get_peft_model(build(config), LoraConfig(task_type="CAUSAL_LM", r=8, target_modules=names))
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert shape_of(config).adapter_parameters(LoraSection(rank=8, targets=targets)) == trained


def test_an_architecture_without_formulas_is_named() -> None:
    with pytest.raises(InputError, match="model_type 'mamba', for which there are no formulas; known are gemma"):
        ModelShape.of({"model_type": "mamba"}, "config.json")
    with pytest.raises(InputError, match="has no usable sizes: 'num_hidden_layers'"):
        ModelShape.of({"model_type": "llama"}, "config.json")


SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 200,
    "max_position_embeddings": 512,
}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"num_hidden_layers": None}, "int() argument"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"vocab_size": -1}, "vocab_size is -1"),
        ({"hidden_size": "wide"}, "invalid literal"),
    ],
)
def test_sizes_that_are_none_are_named(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"config.json has no usable sizes: {reason}")):
        ModelShape.of({"model_type": "llama", **SIZES, **changed}, "config.json")


@pytest.mark.parametrize(
    ("described", "positions"),
    [({}, 512), ({"rope_scaling": {"type": "yarn"}}, None), ({"max_position_embeddings": "many"}, None)],
)
def test_positions_are_those_that_prepare_holds_a_run_to(described: dict[str, Any], positions: int | None) -> None:
    assert ModelShape.of({"model_type": "llama", **SIZES, **described}, "config.json").positions == positions


def test_windowed_layers_begin_where_transformers_lets_them_begin() -> None:
    from transformers import Qwen2Config

    config = Qwen2Config(**SIZES | {"num_hidden_layers": 6}, use_sliding_window=True, max_window_layers=4)
    described = config.to_dict()
    counted = ModelShape.of(described, "config.json").windowed_layers
    del described["layer_types"]
    assert counted == ModelShape.of(described, "config.json").windowed_layers == 2


def test_the_cache_of_a_sequence_is_what_a_model_keeps(example_config: Configure) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 6, "vocab_size": 50, "head_dim": 24}
    config = AutoConfig.for_model(
        "gemma3_text", **sizes, num_attention_heads=4, num_key_value_heads=2, sliding_window=16
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        cache = model(input_ids=torch.zeros(1, 64, dtype=torch.int64), use_cache=True).past_key_values
    kept = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    shape = shape_of(config)
    assert (shape.windowed_layers, shape.window) == (5, 16)
    estimated = engine_memory(example_config("model.max_length=64"), shape).sequence
    # transformers keeps a window's last token outside of the cache.
    token = 2 * 2 * 24 * 4
    assert estimated == kept + 5 * token


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("model_type", ["qwen2", "llama", "gemma3_text"])
def test_activations_are_what_autograd_saves(model_type: str, dtype: torch.dtype) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    tokens = 512
    sizes = {"hidden_size": 128, "intermediate_size": 352, "vocab_size": 64, "pad_token_id": 0, "head_dim": 32}

    def saved(layers: int) -> tuple[int, ModelShape]:
        """Bytes that the decoder saves beside its weights and the copies that autocast makes of them."""
        config = AutoConfig.for_model(
            model_type, **sizes, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2
        )
        decoder = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval().get_decoder()
        kept: dict[int, torch.Tensor] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if tokens in tensor.shape:
                kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with hooks, torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            output = decoder(input_ids=torch.zeros(1, tokens, dtype=torch.int64), use_cache=False).last_hidden_state
        assert output.grad_fn is not None
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()), shape_of(config)

    (few, shape), (more, _) = saved(2), saved(4)
    measured = (more - few) / 2 / tokens
    assert activation_bytes(shape, dtype.itemsize) == pytest.approx(measured, rel=0.01)


def tiny_shape() -> ModelShape:
    sizes = TINY
    return ModelShape.of(
        {
            "model_type": "qwen2",
            "hidden_size": sizes.width,
            "intermediate_size": sizes.intermediate,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "num_key_value_heads": sizes.kv_heads,
            "vocab_size": sizes.vocabulary,
            "tie_word_embeddings": True,
        },
        "the benchmark's policy",
    )


@pytest.mark.parametrize("side", ["ours", "ours bf16", "ours rapid", "ours rapid bf16"])
def test_training_memory_is_near_what_was_measured(side: str, example_config: Configure) -> None:
    results = json.loads(UPDATE.read_text(encoding="utf-8"))
    assert tiny_shape().parameters == parameters(TINY)
    settings = results["sides"][side]["settings"]
    longest = int(draw(Workload()).sequence_lengths.max())
    config = example_config(
        f"model.max_length={longest}",
        *(f"train.{key}={value}" for key, value in settings.items()),
        "train.updates=1",
        "train.mini_batch_prompts=8",
        "rollout.group_size=8",
    )
    estimated = training_memory(config, tiny_shape(), on_gpu=False).total
    measured = [found[side]["training_gb"] * 1e9 for found in results["repeats"]]
    low, high = MEASURED_OVER_ESTIMATED
    assert all(low < one / estimated < high for one in measured), [one / estimated for one in measured]


def qwen() -> ModelShape:
    path = MODELS / "Qwen2.5-0.5B" / "config.json"
    return ModelShape.of(json.loads(path.read_text()), str(path))


def test_what_changes_memory(example_config: Configure) -> None:
    shape = qwen()
    words = ("train.compute_dtype=bfloat16", "model.max_length=2048", "train.mini_batch_prompts=64")
    plain = training_memory(example_config(*words), shape, on_gpu=True)
    two = training_memory(example_config(*words, "train.processes=2"), shape, on_gpu=True)
    lora = training_memory(example_config(*words, "train.lora=16"), shape, on_gpu=True)
    guided = training_memory(example_config(*words, "train.guide=0.1"), shape, on_gpu=True)
    checkpointing = training_memory(example_config(*words, "train.gradient_checkpointing=true"), shape, on_gpu=True)
    assert plain.weights + plain.gradients + plain.moments == 16 * shape.parameters
    assert two.weights == plain.weights // 2
    assert two.moments == plain.moments // 2
    assert 0 < two.gathered < plain.weights * 2
    assert lora.weights < 0.6 * plain.weights
    assert lora.gradients + lora.moments < 0.05 * (plain.gradients + plain.moments)
    assert guided == plain
    assert checkpointing.activations < 0.15 * plain.activations


def test_a_micro_batch_is_a_sequence_at_least_and_a_mini_batch_at_most(example_config: Configure) -> None:
    words = ("rollout.group_size=4", "train.mini_batch_prompts=2", "model.max_length=100")
    assert micro_batch_tokens(example_config(*words, "train.micro_batch_tokens=50")) == 100
    assert micro_batch_tokens(example_config(*words, "train.micro_batch_tokens=300")) == 300
    assert micro_batch_tokens(example_config(*words, "train.micro_batch_tokens=3000")) == 800
    assert micro_batch_tokens(example_config(*words, "train.micro_batch_tokens=3000", "train.processes=2")) == 400


def test_the_work_of_a_run(example_config: Configure) -> None:
    config = example_config(
        "loop.iterations=5", "train.updates=3", "train.mini_batch_prompts=2", "rollout.group_size=4",
        "rollout.max_tokens=10", "data.eval_prompts=7", "evaluate={samples: 2, max_tokens: 20, pass_k: [1]}",
        "train.zero_signal_groups=drop", "rollout.oversampling=1.5",
    )  # fmt: skip
    work = estimate_work(config, PromptTokens(8.0, 20, True), PromptTokens(6.0, 9, True), done=2)
    assert work.training == Sampled(prompts=9, completions=36, prompt_tokens=72, most_tokens=360)
    assert work.held_out == Sampled(prompts=7, completions=14, prompt_tokens=42, most_tokens=280)
    assert (work.steps, work.sequences, work.iterations) == (3, 24, 3)
    assert work.run == Sampled(prompts=3 * 16 + 7, completions=3 * 50 + 14, prompt_tokens=384, most_tokens=2200)
    assert estimate_work(config).iteration.prompt_tokens is None
    assert estimate_work(config, tokens_per_completion=4.0).expected_tokens(work.training) == 144


def test_trajectories_are_about_as_large_as_written_ones() -> None:
    """English text under a made-up vocabulary of three characters a token, which is near real ones."""
    rng = np.random.default_rng(0)
    text = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
    pieces = [text[i : i + 3] for i in range(0, len(text), 3)]
    ids = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    completions = [pieces[i : i + 150] for i in range(0, len(pieces), 150)]
    rows = [
        {
            "prompt_id": f"p{number // 4:06d}",
            "group_id": f"train-{number // 4:05d}",
            "sample_index": number % 4,
            "split": "train",
            "prompt_token_ids": [ids[piece] for piece in completions[number // 4][:60]],
            "completion_token_ids": [ids[piece] for piece in completion],
            "behaviour_logprobs": (-rng.exponential(0.4, len(completion))).astype(np.float32).tolist(),
            "finish_reason": "stop",
            "text": "".join(completion),
        }
        for number, completion in enumerate(completions)
    ]
    written = len(encode(pa.Table.from_pylist(rows, with_metadata(TRAJECTORIES, {}))))
    estimated = trajectory_bytes(Sampled(len(rows) // 4, len(rows), 0, 0), len(pieces))
    assert 0.7 < written / estimated < 1.25, written / estimated


def test_a_policy_and_its_optimizer_by_the_parameter(example_config: Configure) -> None:
    shape = qwen()
    kept = estimate_storage(example_config("model.dtype=bfloat16"), shape, estimate_work(example_config()))
    assert (kept.policy, kept.optimizer) == (2 * shape.parameters, 12 * shape.parameters)
    full = estimate_storage(example_config("model.dtype=float32"), shape, estimate_work(example_config()))
    assert (full.policy, full.optimizer, full.checkpoint) == (4 * shape.parameters, 8 * shape.parameters, 0)
    adapted = estimate_storage(example_config("train.lora=4"), shape, estimate_work(example_config()))
    assert 2 * adapted.adapters == adapted.optimizer > 0
    often = example_config("model.dtype=float32", "train.checkpoint_every=2")
    assert estimate_storage(often, shape, estimate_work(often)).checkpoint == 12 * shape.parameters


def test_held_out_prompts_count_only_where_they_are_sampled(example_config: Configure) -> None:
    words = ("loop.iterations=7", "evaluate.every=3")
    often, rarely = (estimate_work(example_config(*some)) for some in (words[:1], words))
    assert (often.evaluations, rarely.evaluations) == (8, 4)
    assert rarely.run == rarely.training * 7 + rarely.held_out * 4
    assert rarely.iteration == often.iteration
    assert estimate_work(example_config(*words), done=4).evaluations == 2
    shape = qwen()
    more, less = (estimate_storage(example_config(*words), shape, work) for work in (often, rarely))
    assert more.total - less.total == 4 * more.held_out > 0


def test_a_long_run_keeps_every_policy_unless_told_otherwise_and_few_optimizer_states(
    example_config: Configure,
) -> None:
    shape = qwen()
    keep = "train.keep_policies=4"
    for words, policies in (((), 40), ((keep,), 6), ((keep, "data.eval_prompts=0"), 5)):
        config = example_config("loop.iterations=40", *words)
        kept = estimate_storage(config, shape, estimate_work(config))
        assert (kept.policies, kept.optimizers) == (policies, 3)
        assert kept.total == (kept.base + kept.trajectories + policies * kept.policy + 3 * kept.optimizer)
