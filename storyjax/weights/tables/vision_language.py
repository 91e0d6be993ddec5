"""Rule tables of whole published models: BLIP-2, SigLIP, and CLIP and BLIP-2 as their authors published them.

rules.py has the tables of their parts in `transformers`' names and what a table is.
"""

from storyjax.models.t5 import T5Config
from storyjax.weights.rules import (
    BATCH_TO_ROW,
    BLIP2_VISION,
    FUSED_BIASES,
    FUSED_KERNELS,
    PATCHES,
    TABLE_TO_BATCH,
    VECTOR_TO_ROW,
    Layout,
    Rule,
    RuleTable,
    clip_block_rules,
    dense,
    fused_paths,
    norm,
    t5_rules,
)

# A matrix that its source multiplies from the right, as ours are.
RIGHT = Layout("i o -> i o")
_QKV = ("query", "key", "value")


def _qformer_block(encoder: str) -> list[Rule]:
    """A block of BERT with queries; LAVIS and `transformers` name its parts alike but for what is around them."""
    source, target = f"{encoder}.layer.{{i}}", "block_{i}"
    inner = "attention" if encoder == "encoder" else "self"
    rules = []
    for theirs, ours, after in (
        ("attention", "attention", "attention_norm"),
        ("crossattention", "cross_attention", "cross_norm"),
    ):
        for part in _QKV:
            rules += dense(f"{source}.{theirs}.{inner}.{part}", f"{target}/{ours}/{part}")
        rules += dense(f"{source}.{theirs}.output.dense", f"{target}/{ours}/out")
        rules += norm(f"{source}.{theirs}.output.LayerNorm", f"{target}/{after}")
    return [
        *rules,
        *dense(f"{source}.intermediate_query.dense", f"{target}/mlp/up"),
        *dense(f"{source}.output_query.dense", f"{target}/mlp/down"),
        *norm(f"{source}.output_query.LayerNorm", f"{target}/mlp_norm"),
    ]


# The Q-Former of Blip2ForConditionalGeneration, with its queries and its projection, to our QFormer.
QFORMER = RuleTable(
    (
        Rule("query_tokens", ("queries",), BATCH_TO_ROW),
        *norm("qformer.layernorm", "norm"),
        *[Rule(f"qformer.{rule.source}", rule.targets, rule.layout) for rule in _qformer_block("encoder")],
        *dense("language_projection", "llm_projection"),
    ),
    ignored=("qformer.embeddings.position_ids",),
)


def blip2_rules(llm: T5Config) -> RuleTable:
    """Returns the rules of Blip2ForConditionalGeneration with a T5, to {"vision", "qformer", "llm"}."""
    return (
        BLIP2_VISION.placed("vision_model.", "vision/")
        + QFORMER.placed("", "qformer/")
        + t5_rules(llm).placed("language_model.", "llm/")
    )


# The vision encoder alone, from the same files.
BLIP2_VISION_ALONE = BLIP2_VISION.placed("vision_model.", "vision/") + RuleTable(
    (), ignored=("qformer.*", "query_tokens", "language_projection.*", "language_model.*")
)


def _eva_blocks() -> list[Rule]:
    source, target = "visual_encoder.blocks.{i}", "encoder/block_{i}"
    return [
        *norm(f"{source}.norm1", f"{target}/attention_norm"),
        *norm(f"{source}.norm2", f"{target}/mlp_norm"),
        *dense(f"{source}.mlp.fc1", f"{target}/mlp/up"),
        *dense(f"{source}.mlp.fc2", f"{target}/mlp/down"),
        *dense(f"{source}.attn.proj", f"{target}/attention/out"),
        Rule(f"{source}.attn.qkv.weight", fused_paths("kernel"), FUSED_KERNELS),
        Rule(f"{source}.attn.q_bias", (f"{target}/attention/query/bias",)),
        Rule(f"{source}.attn.v_bias", (f"{target}/attention/value/bias",)),
    ]


def _lavis_vision(depth: int) -> RuleTable:
    rules = (
        Rule("visual_encoder.cls_token", ("cls",), BATCH_TO_ROW),
        Rule("visual_encoder.pos_embed", ("position",)),
        Rule("visual_encoder.patch_embed.proj.weight", ("patch/kernel",), PATCHES),
        Rule("visual_encoder.patch_embed.proj.bias", ("patch/bias",)),
        *_eva_blocks(),
        *norm("ln_vision", "norm"),
    )
    # EVA-CLIP's file has the last of its forty blocks and its heads, which BLIP-2 does without.
    spare = (f"visual_encoder.blocks.{depth}.*", *(f"visual_encoder.{head}.*" for head in ("norm", "fc_norm", "head")))
    # EVA's keys have no biases.
    return RuleTable(rules, ignored=spare, zeros=("encoder/block_{i}/attention/key/bias",))


def lavis_rules(vision_depth: int, llm: T5Config) -> RuleTable:
    """Returns the rules of LAVIS's Blip2T5, to the same tree as `blip2_rules`."""
    qformer = RuleTable(
        (
            Rule("query_tokens", ("queries",), BATCH_TO_ROW),
            *norm("Qformer.bert.embeddings.LayerNorm", "norm"),
            *_qformer_block("Qformer.bert.encoder"),
            *dense("t5_proj", "llm_projection"),
        ),
        ignored=("Qformer.bert.embeddings.position_ids",),
    )
    return (
        _lavis_vision(vision_depth).placed("", "vision/")
        + qformer.placed("", "qformer/")
        + t5_rules(llm).placed("t5_model.", "llm/")
    )


def lavis_vision_rules(vision_depth: int) -> RuleTable:
    """Returns the rules of the vision encoder alone, from LAVIS's files."""
    ignored = ("Qformer.*", "query_tokens", "t5_proj.*", "t5_model.*")
    return _lavis_vision(vision_depth).placed("", "vision/") + RuleTable((), ignored=ignored)


# The parts of LAVIS's BLIP-2 are also published in files of their own, in which names do not say whose they are.
LAVIS_HOMES = {
    "visual_encoder.": ("cls_token", "pos_embed", "patch_embed.", "blocks.", "norm.", "fc_norm.", "head."),
    "t5_model.": ("shared.", "encoder.", "decoder.", "lm_head."),
}


def lavis_name(name: str) -> str:
    """The name that an array of any of LAVIS's files has in the whole model."""
    for home, beginnings in LAVIS_HOMES.items():
        if name.startswith(beginnings):
            return home + name
    return name


def _openai_blocks(stack: str, target: str) -> list[Rule]:
    source, target = f"{stack}.resblocks.{{i}}", f"{target}/encoder/block_{{i}}"
    attention = tuple(f"{target}/attention/{part}" for part in _QKV)
    return [
        *norm(f"{source}.ln_1", f"{target}/attention_norm"),
        *norm(f"{source}.ln_2", f"{target}/mlp_norm"),
        Rule(f"{source}.attn.in_proj_weight", tuple(f"{path}/kernel" for path in attention), FUSED_KERNELS),
        Rule(f"{source}.attn.in_proj_bias", tuple(f"{path}/bias" for path in attention), FUSED_BIASES),
        *dense(f"{source}.attn.out_proj", f"{target}/attention/out"),
        *dense(f"{source}.mlp.c_fc", f"{target}/mlp/up"),
        *dense(f"{source}.mlp.c_proj", f"{target}/mlp/down"),
    ]


# CLIP as OpenAI and OpenCLIP publish it, to our Clip.
OPENAI_CLIP = RuleTable(
    (
        Rule("visual.class_embedding", ("vision/cls",), VECTOR_TO_ROW),
        Rule("visual.positional_embedding", ("vision/position",), TABLE_TO_BATCH),
        Rule("visual.conv1.weight", ("vision/patch/kernel",), PATCHES),
        *norm("visual.ln_pre", "vision/pre_norm"),
        *_openai_blocks("visual.transformer", "vision"),
        *norm("visual.ln_post", "vision/norm"),
        Rule("visual.proj", ("vision_projection/kernel",), RIGHT),
        Rule("token_embedding.weight", ("text/token/embedding",)),
        Rule("positional_embedding", ("text/position",), TABLE_TO_BATCH),
        *_openai_blocks("transformer", "text"),
        *norm("ln_final", "text/norm"),
        Rule("text_projection", ("text_projection/kernel",), RIGHT),
        Rule("logit_scale", ("logit_scale",)),
    ),
    ignored=("input_resolution", "context_length", "vocab_size", "attn_mask"),
)


def _siglip_encoder(source: str, target: str) -> tuple[Rule, ...]:
    return RuleTable((*clip_block_rules(),)).placed(source, target).rules


# SiglipModel, to our Siglip.
SIGLIP = RuleTable(
    (
        Rule("vision_model.embeddings.patch_embedding.weight", ("vision/patch/kernel",), PATCHES),
        Rule("vision_model.embeddings.patch_embedding.bias", ("vision/patch/bias",)),
        Rule("vision_model.embeddings.position_embedding.weight", ("vision/position",), TABLE_TO_BATCH),
        *_siglip_encoder("vision_model.", "vision/"),
        *norm("vision_model.post_layernorm", "vision/norm"),
        Rule("vision_model.head.probe", ("vision_head/probe",), BATCH_TO_ROW),
        Rule(
            "vision_model.head.attention.in_proj_weight",
            tuple(f"vision_head/attention/{part}/kernel" for part in _QKV),
            FUSED_KERNELS,
        ),
        Rule(
            "vision_model.head.attention.in_proj_bias",
            tuple(f"vision_head/attention/{part}/bias" for part in _QKV),
            FUSED_BIASES,
        ),
        *dense("vision_model.head.attention.out_proj", "vision_head/attention/out"),
        *norm("vision_model.head.layernorm", "vision_head/norm"),
        *dense("vision_model.head.mlp.fc1", "vision_head/mlp/up"),
        *dense("vision_model.head.mlp.fc2", "vision_head/mlp/down"),
        Rule("text_model.embeddings.token_embedding.weight", ("text/token/embedding",)),
        Rule("text_model.embeddings.position_embedding.weight", ("text/position",), TABLE_TO_BATCH),
        *_siglip_encoder("text_model.", "text/"),
        *norm("text_model.final_layer_norm", "text/norm"),
        *dense("text_model.head", "text_head"),
        Rule("logit_scale", ("logit_scale",)),
        Rule("logit_bias", ("logit_bias",)),
    ),
    ignored=("vision_model.embeddings.position_ids", "text_model.embeddings.position_ids"),
)
