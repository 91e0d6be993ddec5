"""Rule tables of Deformable DETR, as `transformers` and as its authors publish it, and of the ResNets under it.

Backbones have torchvision's names here ("layer1.0.conv2.weight"), as in both; `hub_name` gives these names to the
backbones of `transformers`' own ResNet, and to older `transformers` files the names of today.
"""

import dataclasses
import re
from typing import Any

from storyjax.core.errors import StoryjaxError
from storyjax.models.deformable_detr import DeformableDetrConfig
from storyjax.models.resnet import RESNET_18, RESNET_50, ResNetConfig
from storyjax.weights.rules import FUSED_BIASES, FUSED_KERNELS, Layout, Rule, RuleTable, dense, norm

CONVOLUTION = Layout("o i y x -> y x i o")
_STATISTICS = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "variance"}
_SAMPLING = {
    "sampling_offsets": "offsets",
    "attention_weights": "weights",
    "value_proj": "value",
    "output_proj": "out",
}
HUB_BACKBONE = "model.backbone.model."


def resnet_rules(config: ResNetConfig) -> RuleTable:
    """Returns the rules of a ResNet with torchvision's names; counters of batches and a classifier are ignored."""
    rules: list[Rule] = []

    def normed(conv: str, batch_norm: str, target: str) -> None:
        rules.append(Rule(f"{conv}.weight", (f"{target}/conv/kernel",), CONVOLUTION))
        rules.extend(Rule(f"{batch_norm}.{theirs}", (f"{target}/norm/{ours}",)) for theirs, ours in _STATISTICS.items())

    normed("conv1", "bn1", "stem")
    convolutions = 3 if config.block == "bottleneck" else 2
    for stage, depth in enumerate(config.depths):
        for block in range(depth):
            source, target = f"layer{stage + 1}.{block}", f"stage_{stage}_block_{block}"
            for i in range(convolutions):
                normed(f"{source}.conv{i + 1}", f"{source}.bn{i + 1}", f"{target}/conv_{i}")
            if block == 0:
                normed(f"{source}.downsample.0", f"{source}.downsample.1", f"{target}/project")
    return RuleTable(tuple(rules), ignored=("*num_batches_tracked", "fc.*"))


def _projections(config: DeformableDetrConfig, source: str) -> list[Rule]:
    """The projections of the backbone's maps to levels."""
    rules = []
    for level in range(config.levels):
        rules.append(Rule(f"{source}.{level}.0.weight", (f"pyramid/project_{level}/kernel",), CONVOLUTION))
        rules.append(Rule(f"{source}.{level}.0.bias", (f"pyramid/project_{level}/bias",)))
        rules += norm(f"{source}.{level}.1", f"pyramid/project_{level}_norm")
    return rules


def _sampling(source: str, target: str) -> list[Rule]:
    return [rule for theirs, ours in _SAMPLING.items() for rule in dense(f"{source}.{theirs}", f"{target}/{ours}")]


def _heads(config: DeformableDetrConfig) -> tuple[list[Rule], dict[str, str]]:
    """The heads' rules, and aliases for the copies that files have of a head which all layers share."""
    last = config.decoder_layers + (1 if config.two_stage else 0)
    own = range(last) if config.box_refine else (0, *range(config.decoder_layers, last))
    rules: list[Rule] = []
    for place, number in enumerate(own):
        rules += dense(f"class_embed.{number}", f"class_heads_{place}")
        for layer in range(3):
            rules += dense(f"bbox_embed.{number}.layers.{layer}", f"decoder/box_heads_{place}/layer_{layer}")
    aliases: dict[str, str] = {}
    if not config.box_refine:
        for rule in [rule for rule in rules if rule.source.split(".")[1] == "0"]:
            head, _, rest = rule.source.split(".", 2)
            aliases |= {f"{head}.{i}.{rest}": rule.source for i in range(1, config.decoder_layers)}
    return rules, aliases


def _repeated(rules: list[Rule], config: DeformableDetrConfig, prefix: str) -> dict[str, str]:
    """Aliases for the decoder's references to the heads that refine boxes and choose proposals."""
    heads = (["bbox_embed"] if config.box_refine else []) + (["class_embed"] if config.two_stage else [])
    return {f"{prefix}{rule.source}": rule.source for rule in rules if rule.source.split(".")[0] in heads}


def _queries(config: DeformableDetrConfig, prefix: str, embedding: str) -> list[Rule]:
    if not config.two_stage:
        return [Rule(embedding, ("queries",)), *dense(f"{prefix}reference_points", "reference")]
    return [
        *dense(f"{prefix}enc_output", "proposal"),
        *norm(f"{prefix}enc_output_norm", "proposal_norm"),
        *dense(f"{prefix}pos_trans", "proposal_query"),
        *norm(f"{prefix}pos_trans_norm", "proposal_query_norm"),
    ]


def hub_rules(config: DeformableDetrConfig) -> RuleTable:
    """Returns the rules of DeformableDetrForObjectDetection of `transformers`, under today's names (`hub_name`)."""
    encoder, decoder = "model.encoder.layers.{i}", "model.decoder.layers.{i}"
    theirs, ours = "encoder/layer_{i}", "decoder/layers_{i}"
    heads, aliases = _heads(config)
    rules = [
        *_projections(config, "model.input_proj"),
        Rule("model.level_embed", ("pyramid/level",)),
        *_queries(config, "model.", "model.query_position_embeddings.weight"),
        *_sampling(f"{encoder}.self_attn", f"{theirs}/attention"),
        *norm(f"{encoder}.self_attn_layer_norm", f"{theirs}/attention_norm"),
        *[rule for q in ("query", "key", "value") for rule in dense(f"{decoder}.self_attn.{q[0]}_proj", _own(q))],
        *dense(f"{decoder}.self_attn.o_proj", _own("out")),
        *norm(f"{decoder}.self_attn_layer_norm", f"{ours}/self_norm"),
        *_sampling(f"{decoder}.encoder_attn", f"{ours}/cross_attention"),
        *norm(f"{decoder}.encoder_attn_layer_norm", f"{ours}/cross_norm"),
        *heads,
    ]
    for source, target in ((encoder, theirs), (decoder, ours)):
        rules += dense(f"{source}.mlp.fc1", f"{target}/mlp/up") + dense(f"{source}.mlp.fc2", f"{target}/mlp/down")
        rules += norm(f"{source}.final_layer_norm", f"{target}/mlp/norm")
    aliases |= _repeated(heads, config, "model.decoder.")
    omitted = {}
    if config.box_refine and not config.two_stage:  # transformers 5 ties these class heads, and saves the first alone
        for rule in [rule for rule in heads if rule.source.startswith("class_embed.")]:
            omitted[rule.source] = f"class_embed.0.{rule.source.rpartition('.')[2]}"
    backbone = resnet_rules(config.backbone).placed(HUB_BACKBONE, "pyramid/backbone/")
    return backbone + RuleTable(tuple(rules), aliases, omitted=omitted)


def _own(part: str) -> str:
    return f"decoder/layers_{{i}}/self_attention/{part}"


def original_rules(config: DeformableDetrConfig) -> RuleTable:
    """Returns the rules of the authors' files (fundamentalvision/Deformable-DETR)."""
    encoder, decoder = "transformer.encoder.layers.{i}", "transformer.decoder.layers.{i}"
    theirs, ours = "encoder/layer_{i}", "decoder/layers_{i}"
    heads, aliases = _heads(config)
    fused = [_own(part) for part in ("query", "key", "value")]
    rules = [
        *_projections(config, "input_proj"),
        Rule("transformer.level_embed", ("pyramid/level",)),
        *_queries(config, "transformer.", "query_embed.weight"),
        *_sampling(f"{encoder}.self_attn", f"{theirs}/attention"),
        *norm(f"{encoder}.norm1", f"{theirs}/attention_norm"),
        *norm(f"{encoder}.norm2", f"{theirs}/mlp/norm"),
        Rule(f"{decoder}.self_attn.in_proj_weight", tuple(f"{path}/kernel" for path in fused), FUSED_KERNELS),
        Rule(f"{decoder}.self_attn.in_proj_bias", tuple(f"{path}/bias" for path in fused), FUSED_BIASES),
        *dense(f"{decoder}.self_attn.out_proj", _own("out")),
        # Their decoder numbers its norms in the order in which it was first written, not run.
        *norm(f"{decoder}.norm2", f"{ours}/self_norm"),
        *_sampling(f"{decoder}.cross_attn", f"{ours}/cross_attention"),
        *norm(f"{decoder}.norm1", f"{ours}/cross_norm"),
        *norm(f"{decoder}.norm3", f"{ours}/mlp/norm"),
        *heads,
    ]
    for source, target in ((encoder, theirs), (decoder, ours)):
        rules += dense(f"{source}.linear1", f"{target}/mlp/up") + dense(f"{source}.linear2", f"{target}/mlp/down")
    aliases |= _repeated(heads, config, "transformer.decoder.")
    backbone = resnet_rules(config.backbone).placed("backbone.0.body.", "pyramid/backbone/")
    return backbone + RuleTable(tuple(rules), aliases)


# The names that transformers' own ResNet has for torchvision's, and the encoder's stages and layers in words.
_OWN_RESNET = (
    (r"(?:resnet\.)?embedder\.embedder\.convolution\.", "conv1."),
    (r"(?:resnet\.)?embedder\.embedder\.normalization\.", "bn1."),
)
_STAGE = re.compile(
    r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.(layer\.(\d+)|shortcut)\.(convolution|normalization)\."
)


def resnet_name(name: str) -> str:
    """Returns torchvision's name for one of transformers' ResNet; other names stay."""
    for pattern, ours in _OWN_RESNET:
        name = re.sub(f"^{pattern}", ours, name)

    def stage(found: re.Match[str]) -> str:
        convolution = found[5] == "convolution"
        if found[4] is None:
            part = f"downsample.{0 if convolution else 1}"
        else:
            part = f"{'conv' if convolution else 'bn'}{int(found[4]) + 1}"
        return f"layer{int(found[1]) + 1}.{found[2]}.{part}."

    return re.sub(f"^{_STAGE.pattern}", stage, name)


def hub_name(name: str) -> str:
    """Returns the name that `hub_rules` has for one of any version of `transformers`."""
    name = name.replace("backbone.conv_encoder.", "backbone.")
    if name.startswith(HUB_BACKBONE):
        return HUB_BACKBONE + resnet_name(name.removeprefix(HUB_BACKBONE))
    name = name.replace("self_attn.out_proj.", "self_attn.o_proj.")
    return re.sub(r"(layers\.\d+)\.(fc[12])\.", r"\1.mlp.\2.", name)


def resnet_from_hub(hub: Any, outputs: tuple[int, ...]) -> ResNetConfig:
    """Returns the architecture that a ResNetConfig of `transformers` describes.

    Raises:
        StoryjaxError: ours does not have that architecture.
    """
    if hub.downsample_in_bottleneck or hub.downsample_in_first_stage or hub.hidden_act != "relu":
        raise StoryjaxError("config.json describes a ResNet that halves elsewhere, or without ReLU; storyjax has none")
    return ResNetConfig(hub.embedding_size, tuple(hub.hidden_sizes), tuple(hub.depths), hub.layer_type, outputs)


def detr_from_hub(hub: Any) -> DeformableDetrConfig:
    """Returns the architecture that a DeformableDetrConfig of `transformers` describes.

    Raises:
        StoryjaxError: ours does not have that architecture.
    """
    under = hub.backbone_config
    outputs = (1, 2, 3) if hub.num_feature_levels > 1 else (3,)
    if under.model_type == "resnet":
        backbone = resnet_from_hub(under, tuple(int(stage.removeprefix("stage")) - 1 for stage in under.out_features))
    elif getattr(under, "backbone", "") in ("resnet50", "resnet18"):
        known = {"resnet50": RESNET_50, "resnet18": RESNET_18}[under.backbone]
        backbone = dataclasses.replace(known, outputs=outputs)
    else:
        raise StoryjaxError("config.json describes a Deformable DETR on another backbone than a ResNet")
    same = hub.encoder_ffn_dim == hub.decoder_ffn_dim and hub.encoder_n_points == hub.decoder_n_points
    same = same and hub.encoder_attention_heads == hub.decoder_attention_heads and not hub.dilation
    if not same or hub.activation_function != "relu" or hub.position_embedding_type != "sine":
        raise StoryjaxError("config.json describes a Deformable DETR with parts that storyjax's does not have")
    return DeformableDetrConfig(
        backbone=backbone,
        width=hub.d_model,
        mlp_width=hub.encoder_ffn_dim,
        encoder_layers=hub.encoder_layers,
        decoder_layers=hub.decoder_layers,
        heads=hub.encoder_attention_heads,
        points=hub.encoder_n_points,
        levels=hub.num_feature_levels,
        queries=hub.two_stage_num_proposals if hub.two_stage else hub.num_queries,
        classes=hub.num_labels,
        box_refine=hub.with_box_refine,
        two_stage=hub.two_stage,
        dropout=float(hub.dropout),
    )
