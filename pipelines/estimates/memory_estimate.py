"""Memory of the rollout engine and of a training process, in bytes.

The formulas count what the code keeps, without allocators, kernels and CUDA contexts. The training formula is compared
with measured peaks in `tests/unit/pipelines/test_estimates.py`.
"""

from dataclasses import dataclass

from components.contract.config import RunConfig
from components.contract.train_config import CPU_LOGITS, GPU_LOGITS
from pipelines.estimates.model_shape import ModelShape

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class EngineMemory:
    """Memory of one GPU of the engine, or of the engine on the CPU.

    Attributes:
        weights: weights in `model.dtype`.
        sequence: keys and values of one sequence of `model.max_length` tokens.
        sequences: `max_num_seqs`, the sequences that share the cache.
    """

    weights: int
    sequence: int
    sequences: int

    @property
    def cache(self) -> int:
        """Keys and values of all sequences at full length; with a smaller cache the engine decodes fewer at a time."""
        return self.sequence * self.sequences

    def sequences_within(self, cache: float) -> int:
        """Return how many sequences of full length fit into `cache` bytes."""
        return max(0, int(cache // self.sequence))


def engine_memory(config: RunConfig, shape: ModelShape) -> EngineMemory:
    """Estimate weights and cache, divided by `tensor_parallel_size`.

    The keys and values of a token are 2 x kv_heads x head_width elements per layer (PagedAttention, arXiv 2309.06180);
    layers with a window keep at most a window of tokens.
    """
    size, parallel = BYTES[config.model.dtype], config.rollout.engine.tensor_parallel_size
    length = config.model.max_length
    tokens = (shape.layers - shape.windowed_layers) * length + shape.windowed_layers * min(shape.window, length)
    # With fewer heads than GPUs, each GPU holds one.
    kv_heads = max(1, shape.kv_heads // parallel)
    return EngineMemory(
        weights=shape.parameters * size // parallel,
        sequence=2 * kv_heads * shape.head_width * size * tokens,
        sequences=config.rollout.engine.max_num_seqs,
    )


@dataclass(frozen=True)
class TrainingMemory:
    """Peak memory of one training process, in the backward pass of a micro-batch.

    Attributes:
        weights: master weights in float32, or under adapters the frozen ones in `compute_dtype`, with the adapters.
        gradients: float32 gradients of what is trained.
        moments: both float32 moments of AdamW.
        gathered: layers and embeddings that FSDP gathers, and their gradients; 0 in one process.
        copies: weights in `compute_dtype`, which autocast makes and backward keeps.
        activations: tensors of a micro-batch that backward needs.
        head: logits of a chunk, and the gradient of the output projection.
    """

    weights: int
    gradients: int
    moments: int
    gathered: int
    copies: int
    activations: int
    head: int

    @property
    def total(self) -> int:
        return sum(vars(self).values())


def training_memory(config: RunConfig, shape: ModelShape, on_gpu: bool) -> TrainingMemory:
    """Estimate the memory of one training process.

    Args:
        on_gpu: decides how many logits exist at a time if `train.logprob_chunk` is not set.
    """
    section = config.train
    world, compute = section.processes * section.nodes, BYTES[section.compute_dtype]
    adapters = shape.adapter_parameters(section.lora) if section.lora else 0
    trained = adapters or shape.parameters
    stored = compute if section.lora else 4
    kept = shape.parameters * stored + adapters * 4
    matrices = shape.layers * sum(a * b for a, b in shape.projections.values())
    # Two layers: the next one is gathered while one computes. Frozen weights have no gradients.
    gathered = stored * (shape.root_parameters + 2 * shape.layer_parameters) * (1 if section.lora else 2)
    return TrainingMemory(
        weights=kept // world,
        gradients=4 * trained // world,
        moments=8 * trained // world,
        gathered=gathered if world > 1 else 0,
        copies=matrices * compute if section.compute_dtype != "float32" and not section.lora else 0,
        activations=_activations(config, shape),
        head=_head(config, shape, on_gpu),
    )


def guide_memory(config: RunConfig, guide: ModelShape) -> int:
    """Return the weights of `train.guide.model` in a training process, which holds no trainer while it scores."""
    return guide.parameters * BYTES[config.train.compute_dtype] // (config.train.processes * config.train.nodes)


def micro_batch_tokens(config: RunConfig) -> int:
    """Return the most tokens of a forward pass: a mini-batch may be below the limit, and one sequence above it."""
    section, longest = config.train, config.model.max_length
    mini_batch = section.mini_batch_prompts * config.rollout.group_size * longest
    return max(min(section.micro_batch_tokens, mini_batch // (section.processes * section.nodes)), longest)


def activation_bytes(shape: ModelShape, compute: int) -> int:
    """Return the bytes per token that one layer saves for backward, after the modelling code of transformers.

    For each norm its input and the normalised stream in float32; the inputs of the projections, which autocast casts
    again for each of five; queries, keys, values and the output of attention; gate, up, the activated gate and their
    product; a float32 for each head and norm.

    Args:
        compute: bytes of an element in matrix products, 4 or 2 (autocast).
    """
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    norms = 2 * 4 * (shape.norms * shape.width + (queries + keys if shape.head_norms else 0))
    inputs = 2 * 4 * shape.width if compute == 4 else 5 * compute * shape.width
    products = compute * (2 * queries + 2 * keys + 4 * shape.intermediate)
    return norms + inputs + products + 4 * (shape.heads + shape.norms)


def _activations(config: RunConfig, shape: ModelShape) -> int:
    """Return the activations of all layers, and of one more for the gradients inside a layer.

    With gradient checkpointing: those of one layer, its gradients, and the residual stream of all layers.
    """
    layer = activation_bytes(shape, BYTES[config.train.compute_dtype])
    tokens = micro_batch_tokens(config)
    if config.train.gradient_checkpointing:
        return tokens * (2 * layer + 4 * shape.width * shape.layers)
    return tokens * layer * (shape.layers + 1)


def _head(config: RunConfig, shape: ModelShape, on_gpu: bool) -> int:
    """Return logits, probabilities and their gradient in `compute_dtype` of a chunk, and the projection's gradient."""
    section = config.train
    chunk = section.logprob_chunk or max(1, (GPU_LOGITS if on_gpu else CPU_LOGITS) // shape.vocabulary)
    chunk = min(chunk, micro_batch_tokens(config))
    compute = BYTES[section.compute_dtype]
    projection = 0 if section.lora else shape.vocabulary * shape.width * 4
    copy = shape.vocabulary * shape.width * compute if compute == 2 else 0
    return chunk * shape.vocabulary * (4 + 4 + compute) + projection + copy
