"""How the weights of `transformers` checkpoints map to ours: one table of rules per source, the same for both ways.

Tables are data. A rule pairs a name of the source, with {i} for a block's number, with our path or paths, and says how
the layout of the array differs. The shapes of a model that is not loaded yet decide which names must be there, so a
missing, an unused and a misshapen array are all errors.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import einops
import jax
import numpy as np

from storyjax.nn.t5 import T5Config
from storyjax.weights.tree_io import fit, flatten, refuse_mismatch


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
        """The arrays of the rule's paths. Raises einops.EinopsError for an array that is not of this layout."""
        array = einops.rearrange(array, self.pattern, **self.axes)
        return tuple(array) if parts > 1 else (array,)

    def theirs(self, *parts: np.ndarray) -> np.ndarray:
        """The source's array: the inverse of `ours`."""
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
      ignored: names that published files may hold though they are not weights.
    """

    rules: tuple[Rule, ...]
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def placed(self, source_prefix: str, target_prefix: str) -> "RuleTable":
        """The same table for a model that is part of a larger one on either side."""
        rules = tuple(
            dataclasses.replace(
                rule,
                source=source_prefix + rule.source,
                targets=tuple(target_prefix + target for target in rule.targets),
            )
            for rule in self.rules
        )
        aliases = {source_prefix + alias: source_prefix + name for alias, name in self.aliases.items()}
        return RuleTable(rules, aliases, tuple(source_prefix + name for name in self.ignored))

    def __add__(self, other: "RuleTable") -> "RuleTable":
        return RuleTable(self.rules + other.rules, {**self.aliases, **other.aliases}, self.ignored + other.ignored)


def _linear(source: str, target: str) -> list[Rule]:
    return [Rule(f"{source}.weight", (f"{target}/kernel",), LINEAR)]


def _dense(source: str, target: str) -> list[Rule]:
    return [*_linear(source, target), Rule(f"{source}.bias", (f"{target}/bias",))]


def _norm(source: str, target: str) -> list[Rule]:
    return [Rule(f"{source}.weight", (f"{target}/scale",)), Rule(f"{source}.bias", (f"{target}/bias",))]


def t5_rules(config: T5Config) -> RuleTable:
    """T5ForConditionalGeneration."""
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
        for layer, (theirs, norm, ours, parts) in enumerate(sublayers):
            source, target = f"{stack}.block.{{i}}.layer.{layer}", f"{stack}/block_{{i}}"
            rules.append(Rule(f"{source}.layer_norm.weight", (f"{target}/{norm}/scale",)))
            for part, name in parts.items():
                rules += _linear(f"{source}.{theirs}.{part}", f"{target}/{ours}/{name}")
    # The first conversions wrote a table that the model never read.
    unread = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    return RuleTable(tuple(rules), aliases, (unread,))


def _encoder_block_rules() -> list[Rule]:
    """What the blocks of CLIP and BLIP-2 have in common."""
    source, target = "encoder.layers.{i}", "encoder/block_{i}"
    return [
        *_norm(f"{source}.layer_norm1", f"{target}/attention_norm"),
        *_norm(f"{source}.layer_norm2", f"{target}/mlp_norm"),
        *_dense(f"{source}.mlp.fc1", f"{target}/mlp/up"),
        *_dense(f"{source}.mlp.fc2", f"{target}/mlp/down"),
    ]


def _clip_block_rules() -> list[Rule]:
    source, target = "encoder.layers.{i}.self_attn", "encoder/block_{i}/attention"
    parts = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}
    rules = [rule for part, name in parts.items() for rule in _dense(f"{source}.{part}", f"{target}/{name}")]
    return _encoder_block_rules() + rules


def _fused_paths(leaf: str) -> tuple[str, ...]:
    return tuple(f"encoder/block_{{i}}/attention/{name}/{leaf}" for name in ("query", "key", "value"))


# Blip2VisionModel
BLIP2_VISION = RuleTable(
    (
        Rule("embeddings.class_embedding", ("cls",), BATCH_TO_ROW),
        Rule("embeddings.position_embedding", ("position",)),
        Rule("embeddings.patch_embedding.weight", ("patch/kernel",), PATCHES),
        Rule("embeddings.patch_embedding.bias", ("patch/bias",)),
        *_encoder_block_rules(),
        Rule("encoder.layers.{i}.self_attn.qkv.weight", _fused_paths("kernel"), FUSED_KERNELS),
        Rule("encoder.layers.{i}.self_attn.qkv.bias", _fused_paths("bias"), FUSED_BIASES),
        *_dense("encoder.layers.{i}.self_attn.projection", "encoder/block_{i}/attention/out"),
        *_norm("post_layernorm", "norm"),
    )
)

# CLIPVisionModel, to our ViT. Position ids are constants that old files hold.
CLIP_VISION = RuleTable(
    (
        Rule("embeddings.class_embedding", ("cls",), VECTOR_TO_ROW),
        Rule("embeddings.position_embedding.weight", ("position",), TABLE_TO_BATCH),
        Rule("embeddings.patch_embedding.weight", ("patch/kernel",), PATCHES),
        *_norm("pre_layrnorm", "pre_norm"),
        *_clip_block_rules(),
        *_norm("post_layernorm", "norm"),
    ),
    ignored=("embeddings.position_ids",),
)

# CLIPTextModel, to our ClipText.
CLIP_TEXT = RuleTable(
    (
        Rule("embeddings.token_embedding.weight", ("token/embedding",)),
        Rule("embeddings.position_embedding.weight", ("position",), TABLE_TO_BATCH),
        *_clip_block_rules(),
        *_norm("final_layer_norm", "norm"),
    ),
    ignored=("embeddings.position_ids",),
)

# CLIPModel, to our Clip.
CLIP = (
    CLIP_VISION.placed("vision_model.", "vision/")
    + CLIP_TEXT.placed("text_model.", "text/")
    + RuleTable(
        (
            *_linear("visual_projection", "vision_projection"),
            *_linear("text_projection", "text_projection"),
            Rule("logit_scale", ("logit_scale",)),
        )
    )
)


def select(source: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays of one part of a larger checkpoint, named as if it were alone: "vision_model." of BLIP-2."""
    return {name.removeprefix(prefix): array for name, array in source.items() if name.startswith(prefix)}


def _rules_by_source(table: RuleTable, tree: Mapping[str, Any]) -> dict[str, tuple[Rule, tuple[str, ...]]]:
    """For each name that the source must have for `tree`: its rule and our paths, numbers filled in."""
    patterns = [
        (re.compile(re.escape(target).replace(re.escape("{i}"), r"(\d+)")), rule)
        for rule in table.rules
        for target in rule.targets
    ]
    wanted = {}
    for path in flatten(tree):
        for pattern, rule in patterns:
            if match := pattern.fullmatch(path):
                number = match[1] if match.groups() else ""
                paths = tuple(target.replace("{i}", number) for target in rule.targets)
                wanted[rule.source.replace("{i}", number)] = (rule, paths)
                break
        else:
            raise ValueError(f"no rule leads to '{path}': this table is for another model")
    return wanted


def import_weights(
    table: RuleTable, source: Mapping[str, np.ndarray], abstract_tree: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """A tree like `abstract_tree` (as of `jax.eval_shape`) with the values of `source`.

    Strict both ways: raises StoryjaxError listing names that are missing from `source`, that nothing uses, or whose
    shapes do not fit. `where` names the source of the weights in that error.
    """
    wanted = _rules_by_source(table, abstract_tree)
    source = _without_aliases(table, source, where)
    shapes = {path: tuple(leaf.shape) for path, leaf in flatten(abstract_tree).items()}
    flat, misshapen = {}, []
    for name, (rule, paths) in wanted.items():
        if name not in source:
            continue
        try:
            ours = rule.layout.ours(source[name], len(paths))
        except einops.EinopsError:
            ours = ()
        if [part.shape for part in ours] == [shapes[path] for path in paths]:
            flat.update(zip(paths, ours, strict=True))
        else:
            blanks = (np.broadcast_to(np.float32(0), shapes[path]) for path in paths)
            misshapen.append(f"{name} {source[name].shape} for {rule.layout.theirs(*blanks).shape}")
    missing = [name for name in wanted if name not in source]
    unused = [name for name in source if name not in wanted and name not in table.ignored]
    refuse_mismatch(where, missing=missing, unused=unused, misshapen=misshapen)
    return fit(abstract_tree, flat, where)


def _without_aliases(table: RuleTable, source: Mapping[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """`source` with repeated arrays under their first name only."""
    kept = dict(source)
    for alias, name in table.aliases.items():
        if alias not in kept:
            continue
        array = kept.pop(alias)
        # Files that store a shared array once may store it under either name.
        if not np.array_equal(kept.setdefault(name, array), array):
            refuse_mismatch(where, missing=(), unused=(f"{alias} (it should equal {name})",), misshapen=())
    return kept


def export_weights(table: RuleTable, tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of `tree` under the source's names and in its layout: the inverse of `import_weights`."""
    flat = {path: np.asarray(jax.device_get(leaf)) for path, leaf in flatten(tree).items()}
    return {
        name: np.asarray(rule.layout.theirs(*(flat[path] for path in paths)), order="C")
        for name, (rule, paths) in _rules_by_source(table, tree).items()
    }
