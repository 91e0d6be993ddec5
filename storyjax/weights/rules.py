"""How the weights of `transformers` checkpoints map to ours: one table of rules per source, the same for both
directions.

A rule pairs a name of the source, with {i} for a block's number, with our path or paths, and the difference in the
array's layout. The shapes of a model that is not loaded yet determine which names must be there, so a missing, an
unused and a misshapen array are all errors.
"""

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, Protocol, TypeVar, runtime_checkable

import einops
import jax
import numpy as np

from storyjax.core.errors import StoryjaxError
from storyjax.core.params_io import fit, flatten, refuse_mismatch
from storyjax.models.t5 import T5Config

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Layout:
    """How an array of the source is laid out in ours: an einops pattern, which read backwards is the way back.

    Of a rule with several paths the first axis of the pattern's right side runs over them. `axes` are the lengths that
    the pattern needs; `axes_back` finds those that the way back needs besides, from the array of ours.
    """

    pattern: str
    axes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    axes_back: Callable[[np.ndarray], Mapping[str, int]] = lambda _: {}

    def ours(self, array: np.ndarray, parts: int) -> tuple[np.ndarray, ...]:
        """Returns the arrays of the rule's paths. Raises einops.EinopsError for an array that is not of this layout."""
        array = einops.rearrange(array, self.pattern, **self.axes)
        return tuple(array) if parts > 1 else (array,)

    def theirs(self, *parts: np.ndarray) -> np.ndarray:
        """Returns the source's array: the inverse of `ours`."""
        array = np.stack(parts) if len(parts) > 1 else parts[0]
        left, right = self.pattern.split("->")
        return einops.rearrange(array, f"{right} -> {left}", **self.axes, **self.axes_back(array))


AS_IS = Layout("... -> ...")
# PyTorch's linear layers keep (out, in).
LINEAR = Layout("o i -> i o")
# The convolution that embeds patches, as the kernel of a dense layer on flattened patches.
PATCHES = Layout("d c y x -> (y x c) d", {"c": 3}, lambda kernel: {"y": round((kernel.shape[0] / 3) ** 0.5)})
# Queries, keys and values in one linear layer.
FUSED_KERNELS = Layout("(parts o) i -> parts i o", {"parts": 3})
FUSED_BIASES = Layout("(parts o) -> parts o", {"parts": 3})
# Embeddings with another number of leading axes of length one than ours have.
VECTOR_TO_ROW = Layout("d -> 1 d")
TABLE_TO_BATCH = Layout("n d -> 1 n d")
BATCH_TO_ROW = Layout("1 n d -> n d")


@dataclasses.dataclass(frozen=True)
class Rule:
    """A name of the source, our path or paths for it, and the difference in layout."""

    source: str
    targets: tuple[str, ...]
    layout: Layout = AS_IS


@dataclasses.dataclass(frozen=True)
class RuleTable:
    """All rules of one source.

    Attributes:
      rules: one of them matches every path of the model.
      aliases: second names under which the source may repeat an array; it must be the same array.
      ignored: names that published files may hold though the model does not need them; "*" stands for anything.
      zeros: our paths that the source leaves out because they are zero there.
      omitted: names that the source may leave out, because they are the array of another name.
    """

    rules: tuple[Rule, ...]
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    zeros: tuple[str, ...] = ()
    omitted: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def placed(self, source_prefix: str, target_prefix: str) -> "RuleTable":
        """Returns the same table for a model that is part of a larger one on either side."""
        rules = tuple(
            dataclasses.replace(
                rule,
                source=source_prefix + rule.source,
                targets=tuple(target_prefix + target for target in rule.targets),
            )
            for rule in self.rules
        )
        aliases, omitted = (
            {source_prefix + name: source_prefix + other for name, other in names.items()}
            for names in (self.aliases, self.omitted)
        )
        ignored = tuple(source_prefix + name for name in self.ignored)
        return RuleTable(rules, aliases, ignored, tuple(target_prefix + path for path in self.zeros), omitted)

    def __add__(self, other: "RuleTable") -> "RuleTable":
        aliases, omitted = {**self.aliases, **other.aliases}, {**self.omitted, **other.omitted}
        ignored, zeros = self.ignored + other.ignored, self.zeros + other.zeros
        return RuleTable(self.rules + other.rules, aliases, ignored, zeros, omitted)

    def ignores(self, name: str) -> bool:
        """Returns whether the source may hold `name` though nothing uses it."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.ignored)


def linear(source: str, target: str) -> list[Rule]:
    """Returns the rules of a linear layer without a bias."""
    return [Rule(f"{source}.weight", (f"{target}/kernel",), LINEAR)]


def dense(source: str, target: str) -> list[Rule]:
    """Returns the rules of a linear layer."""
    return [*linear(source, target), Rule(f"{source}.bias", (f"{target}/bias",))]


def norm(source: str, target: str) -> list[Rule]:
    """Returns the rules of a layer norm."""
    return [Rule(f"{source}.weight", (f"{target}/scale",)), Rule(f"{source}.bias", (f"{target}/bias",))]


def t5_rules(config: T5Config) -> RuleTable:
    """Returns the rules of T5ForConditionalGeneration."""
    rules = [Rule("shared.weight", ("shared/embedding",))]
    aliases = {"encoder.embed_tokens.weight": "shared.weight", "decoder.embed_tokens.weight": "shared.weight"}
    if config.tie_word_embeddings:
        aliases["lm_head.weight"] = "shared.weight"
    else:
        rules.append(Rule("lm_head.weight", ("lm_head",), LINEAR))
    feed_forward = {"wi_0": "gate", "wi_1": "up", "wo": "down"}
    if config.feed_forward != "gated-gelu":
        feed_forward = {"wi": "up", "wo": "down"}
    # The sublayers of a block in order, as (their name, our norm, our module, their parts and ours).
    attention = {"q": "query", "k": "key", "v": "value", "o": "out"}
    own = ("SelfAttention", "attention_norm", "attention", attention)
    cross = ("EncDecAttention", "cross_norm", "cross_attention", attention)
    mlp = ("DenseReluDense", "mlp_norm", "mlp", feed_forward)
    for stack, sublayers in {"encoder": (own, mlp), "decoder": (own, cross, mlp)}.items():
        bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        rules.append(Rule(bias, (f"{stack}/relative_bias/embedding",)))
        rules.append(Rule(f"{stack}.final_layer_norm.weight", (f"{stack}/norm/scale",)))
        for layer, (theirs, our_norm, ours, parts) in enumerate(sublayers):
            source, target = f"{stack}.block.{{i}}.layer.{layer}", f"{stack}/block_{{i}}"
            rules.append(Rule(f"{source}.layer_norm.weight", (f"{target}/{our_norm}/scale",)))
            for part, name in parts.items():
                rules += linear(f"{source}.{theirs}.{part}", f"{target}/{ours}/{name}")
    # The first published files have a table that the model never used.
    unread = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    return RuleTable(tuple(rules), aliases, (unread,))


def encoder_block_rules() -> list[Rule]:
    """Returns the rules that the blocks of CLIP, SigLIP and BLIP-2 share."""
    source, target = "encoder.layers.{i}", "encoder/block_{i}"
    return [
        *norm(f"{source}.layer_norm1", f"{target}/attention_norm"),
        *norm(f"{source}.layer_norm2", f"{target}/mlp_norm"),
        *dense(f"{source}.mlp.fc1", f"{target}/mlp/up"),
        *dense(f"{source}.mlp.fc2", f"{target}/mlp/down"),
    ]


def clip_block_rules() -> list[Rule]:
    """Returns the rules of the blocks of both encoders of CLIP and of SigLIP."""
    source, target = "encoder.layers.{i}.self_attn", "encoder/block_{i}/attention"
    parts = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}
    rules = [rule for part, name in parts.items() for rule in dense(f"{source}.{part}", f"{target}/{name}")]
    return encoder_block_rules() + rules


def fused_paths(leaf: str) -> tuple[str, ...]:
    """Returns our three paths for queries, keys and values that the source keeps in one."""
    return tuple(f"encoder/block_{{i}}/attention/{name}/{leaf}" for name in ("query", "key", "value"))


# Blip2VisionModel
BLIP2_VISION = RuleTable(
    (
        Rule("embeddings.class_embedding", ("cls",), BATCH_TO_ROW),
        Rule("embeddings.position_embedding", ("position",)),
        Rule("embeddings.patch_embedding.weight", ("patch/kernel",), PATCHES),
        Rule("embeddings.patch_embedding.bias", ("patch/bias",)),
        *encoder_block_rules(),
        Rule("encoder.layers.{i}.self_attn.qkv.weight", fused_paths("kernel"), FUSED_KERNELS),
        Rule("encoder.layers.{i}.self_attn.qkv.bias", fused_paths("bias"), FUSED_BIASES),
        *dense("encoder.layers.{i}.self_attn.projection", "encoder/block_{i}/attention/out"),
        *norm("post_layernorm", "norm"),
    )
)

# CLIPVisionModel, to our ViT. Position ids are constants that old files hold.
CLIP_VISION = RuleTable(
    (
        Rule("embeddings.class_embedding", ("cls",), VECTOR_TO_ROW),
        Rule("embeddings.position_embedding.weight", ("position",), TABLE_TO_BATCH),
        Rule("embeddings.patch_embedding.weight", ("patch/kernel",), PATCHES),
        *norm("pre_layrnorm", "pre_norm"),
        *clip_block_rules(),
        *norm("post_layernorm", "norm"),
    ),
    ignored=("embeddings.position_ids",),
)

# CLIPTextModel, to our ClipText.
CLIP_TEXT = RuleTable(
    (
        Rule("embeddings.token_embedding.weight", ("token/embedding",)),
        Rule("embeddings.position_embedding.weight", ("position",), TABLE_TO_BATCH),
        *clip_block_rules(),
        *norm("final_layer_norm", "norm"),
    ),
    ignored=("embeddings.position_ids",),
)

# CLIPModel, to our Clip.
CLIP = (
    CLIP_VISION.placed("vision_model.", "vision/")
    + CLIP_TEXT.placed("text_model.", "text/")
    + RuleTable(
        (
            *linear("visual_projection", "vision_projection"),
            *linear("text_projection", "text_projection"),
            Rule("logit_scale", ("logit_scale",)),
        )
    )
)


def select(source: Mapping[str, T], prefix: str) -> dict[str, T]:
    """Returns the arrays of one part of a larger checkpoint, named as if it were alone: "vision_model." of BLIP-2."""
    return {name.removeprefix(prefix): array for name, array in source.items() if name.startswith(prefix)}


@dataclasses.dataclass(frozen=True)
class Planned:
    """An array of the source and the paths that it is converted to."""

    source: str
    paths: tuple[str, ...]
    layout: Layout

    def ours(self, array: np.ndarray) -> dict[str, np.ndarray]:
        """Returns our arrays by path."""
        return dict(zip(self.paths, self.layout.ours(array, len(self.paths)), strict=True))


def _zeros(table: RuleTable, path: str) -> bool:
    return any(_pattern(zero).fullmatch(path) for zero in table.zeros)


def _pattern(target: str) -> re.Pattern[str]:
    return re.compile(re.escape(target).replace(re.escape("{i}"), r"(\d+)"))


def _planned(table: RuleTable, paths: Iterable[str]) -> list[Planned]:
    """The arrays that the source must have for a model with these paths: rules with their numbers filled in."""
    patterns = [(_pattern(target), rule) for rule in table.rules for target in rule.targets]
    planned: dict[str, Planned] = {}
    for path in paths:
        if _zeros(table, path):
            continue
        for pattern, rule in patterns:
            if match := pattern.fullmatch(path):
                number = match[1] if match.groups() else ""
                source = rule.source.replace("{i}", number)
                targets = tuple(target.replace("{i}", number) for target in rule.targets)
                planned[source] = Planned(source, targets, rule.layout)
                break
        else:
            raise ValueError(f"no rule leads to '{path}': this table is for another model")
    return list(planned.values())


@runtime_checkable
class _Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...


def plan(
    table: RuleTable, source: Mapping[str, _Shaped], shapes: Mapping[str, tuple[int, ...]], where: str
) -> list[Planned]:
    """Returns how the arrays of `source` become a model of these shapes; only their shapes and types are read.

    Arrays that the source repeats under `table.aliases` are planned under one of their names; whoever reads them checks
    that they are equal (`repeated`).

    Args:
        table: the rules.
        source: by name.
        shapes: of the model's parameters, by path.
        where: names the source in messages.

    Raises:
        StoryjaxError: listing names that are missing from `source`, that nothing uses, whose shapes do not fit, and
            which are not floating-point numbers.
    """
    planned = _planned(table, shapes)
    known_as = {name: name for name in source}
    for alias, name in table.aliases.items():
        if known_as.pop(alias, None):
            known_as.setdefault(name, alias)  # a shared array that is stored once may be under either name
    misshapen, mistyped, found = [], [], []
    for step in planned:
        if step.source not in known_as:
            continue
        tensor = source[known_as[step.source]]
        found.append(dataclasses.replace(step, source=known_as[step.source]))
        # Zeros without memory of their own, to compute the shape in the source.
        blanks = (np.broadcast_to(np.float32(0), shapes[path]) for path in step.paths)
        expected = step.layout.theirs(*blanks).shape
        if tuple(tensor.shape) != expected:
            misshapen.append(f"{step.source} {tuple(tensor.shape)} for {expected}")
        if not jax.numpy.issubdtype(tensor.dtype, jax.numpy.floating) or np.dtype(tensor.dtype).itemsize == 1:
            mistyped.append(f"{step.source} {np.dtype(tensor.dtype).name}")
    wanted = {step.source for step in planned}
    missing = [name for name in wanted if name not in known_as]
    unused = [name for name in known_as if name not in wanted and not table.ignores(name)]
    refuse_mismatch(where, missing=missing, unused=unused, misshapen=misshapen, mistyped=mistyped)
    return found


def repeated(table: RuleTable, source: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Returns pairs of names of `source` that must hold the same array, and the first name of that array."""
    groups: dict[str, list[str]] = {}
    for alias, name in table.aliases.items():
        groups.setdefault(name, [name]).append(alias)
    pairs = []
    for name, group in groups.items():
        present = [other for other in group if other in source]
        pairs += [(present[0], other, name) for other in present[1:]]
    return pairs


def refuse_difference(where: str, other: str, name: str) -> NoReturn:
    """Raises StoryjaxError for one of `repeated` that is not the same array."""
    raise StoryjaxError(f"the weights in {where} are of another model: 1 unused: {other} (it should equal {name})")


def import_weights(
    table: RuleTable, source: Mapping[str, np.ndarray], abstract_tree: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Returns a tree like `abstract_tree` (of `jax.eval_shape`) with the values of `source`, all in memory.

    Raises:
        StoryjaxError: as `plan`; `where` names the source of the weights.
    """
    shapes = {path: tuple(leaf.shape) for path, leaf in flatten(abstract_tree).items()}
    planned = plan(table, source, shapes, where)
    for first, other, name in repeated(table, source):
        if not np.array_equal(source[first], source[other]):
            refuse_difference(where, other, name)
    flat = {path: np.zeros(shape, np.float32) for path, shape in shapes.items() if _zeros(table, path)}
    for step in planned:
        flat |= step.ours(source[step.source])
    return fit(abstract_tree, flat, where)


def export_weights(table: RuleTable, tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the arrays of `tree` under the source's names and in its layout: the inverse of `import_weights`.

    Raises:
        ValueError: the source leaves out an array that is not zero here.
    """
    flat = {path: np.asarray(jax.device_get(leaf)) for path, leaf in flatten(tree).items()}
    for path, array in flat.items():
        if _zeros(table, path) and array.any():
            raise ValueError(f"'{path}' is not zero, and this layout has no place for it")
    return {
        step.source: np.asarray(step.layout.theirs(*(flat[path] for path in step.paths)), order="C")
        for step in _planned(table, flat)
    }
