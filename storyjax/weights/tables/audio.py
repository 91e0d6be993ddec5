"""Rule tables of published audio networks: SpeechBrain's ECAPA-TDNN, 3D-Speaker's CAM++, the laughter detector, LWTNet.

Batch norms keep a counter of batches besides, which is no weight.
"""

from storyjax.models.campplus import CamPlusConfig
from storyjax.models.ecapa import EcapaConfig
from storyjax.models.laughter import LaughterConfig
from storyjax.models.lwtnet import LwtConfig
from storyjax.weights.rules import Layout, Rule, RuleTable, dense

CONV_1D = Layout("o i t -> t i o")
CONV_2D = Layout("o i y x -> y x i o")
# Layers on single frames that the source keeps as convolutions of one.
POINT_1D = Layout("o i 1 -> i o")
_COUNTERS = ("*.num_batches_tracked",)


def batch_norm(source: str, target: str, affine: bool = True) -> list[Rule]:
    """Returns the rules of a batch norm with its statistics."""
    parts = {"running_mean": "mean", "running_var": "variance"}
    if affine:
        parts |= {"weight": "scale", "bias": "bias"}
    return [Rule(f"{source}.{theirs}", (f"{target}/{ours}",)) for theirs, ours in parts.items()]


def ecapa_rules(config: EcapaConfig) -> RuleTable:
    """Returns the rules of SpeechBrain's `ECAPA_TDNN`, which wraps every layer twice: "blocks.0.conv.conv.weight"."""

    def conv(source: str, target: str, layout: Layout) -> list[Rule]:
        weight = Rule(f"{source}.conv.weight", (f"{target}/kernel",), layout)
        return [weight, Rule(f"{source}.conv.bias", (f"{target}/bias",))]

    def delay(source: str, target: str) -> list[Rule]:
        return conv(f"{source}.conv", f"{target}/conv", CONV_1D) + batch_norm(f"{source}.norm.norm", f"{target}/norm")

    rules = delay("blocks.0", "block_0")
    for index in range(1, len(config.channels) - 1):
        source, target = f"blocks.{index}", f"block_{index}"
        rules += delay(f"{source}.tdnn1", f"{target}/before") + delay(f"{source}.tdnn2", f"{target}/after")
        for group in range(1, config.scale):
            rules += delay(f"{source}.res2net_block.blocks.{group - 1}", f"{target}/scale_{group}")
        rules += conv(f"{source}.se_block.conv1", f"{target}/squeeze", POINT_1D)
        rules += conv(f"{source}.se_block.conv2", f"{target}/excite", POINT_1D)
        rules += conv(f"{source}.shortcut", f"{target}/shortcut", POINT_1D)
    rules += delay("mfa", "aggregate") + delay("asp.tdnn", "attention")
    rules += conv("asp.conv", "attention_out", POINT_1D)
    rules += batch_norm("asp_bn.norm", "pooled_norm") + conv("fc", "embedding", POINT_1D)
    return RuleTable(tuple(rules), ignored=_COUNTERS)


def campplus_rules(config: CamPlusConfig) -> RuleTable:
    """Returns the rules of 3D-Speaker's `CAMPPlus`. Blocks and their layers count from 1 there."""

    def conv(source: str, target: str) -> list[Rule]:
        return [Rule(f"{source}.weight", (f"{target}/kernel",), CONV_2D)]

    def point(source: str, target: str) -> list[Rule]:
        return [Rule(f"{source}.weight", (f"{target}/kernel",), POINT_1D)]

    rules: list[Rule] = []
    for number, name in ((1, "front_first"), (2, "front_last")):
        rules += conv(f"head.conv{number}", name) + batch_norm(f"head.bn{number}", f"{name}_norm")
    for stage in range(2):
        for block in range(2):
            source, target = f"head.layer{stage + 1}.{block}", f"front_stage_{stage}_block_{block}"
            for number, name in ((1, "first"), (2, "second")):
                rules += conv(f"{source}.conv{number}", f"{target}/{name}")
                rules += batch_norm(f"{source}.bn{number}", f"{target}/{name}_norm")
            rules += conv(f"{source}.shortcut.0", f"{target}/shortcut")
            rules += batch_norm(f"{source}.shortcut.1", f"{target}/shortcut_norm")
    rules.append(Rule("xvector.tdnn.linear.weight", ("stem/kernel",), CONV_1D))
    rules += batch_norm("xvector.tdnn.nonlinear.batchnorm", "stem_norm")
    for block, depth in enumerate(config.depths):
        for layer in range(depth):
            source, target = f"xvector.block{block + 1}.tdnnd{layer + 1}", f"block_{block}_layer_{layer}"
            rules += batch_norm(f"{source}.nonlinear1.batchnorm", f"{target}/in_norm")
            rules += point(f"{source}.linear1", f"{target}/narrow")
            rules += batch_norm(f"{source}.nonlinear2.batchnorm", f"{target}/norm")
            rules.append(Rule(f"{source}.cam_layer.linear_local.weight", (f"{target}/local/kernel",), CONV_1D))
            for theirs, ours in (("linear1", "squeeze"), ("linear2", "excite")):
                rules += point(f"{source}.cam_layer.{theirs}", f"{target}/{ours}")
                rules.append(Rule(f"{source}.cam_layer.{theirs}.bias", (f"{target}/{ours}/bias",)))
        rules += batch_norm(f"xvector.transit{block + 1}.nonlinear.batchnorm", f"transit_{block}_norm")
        rules += point(f"xvector.transit{block + 1}.linear", f"transit_{block}")
    rules += batch_norm("xvector.out_nonlinear.batchnorm", "norm")
    rules += point("xvector.dense.linear", "embedding")
    rules += batch_norm("xvector.dense.nonlinear.batchnorm", "embedding_norm", affine=False)
    return RuleTable(tuple(rules), ignored=_COUNTERS)


def laughter_rules(config: LaughterConfig) -> RuleTable:
    """Returns the rules of `ResNetBigger` of jrgillick/laughter-detection."""

    def conv(source: str, target: str, bias: bool) -> list[Rule]:
        rules = [Rule(f"{source}.weight", (f"{target}/kernel",), CONV_2D)]
        return [*rules, Rule(f"{source}.bias", (f"{target}/bias",))] if bias else rules

    rules = conv("conv1", "stem", bias=False) + batch_norm("bn1", "stem_norm")
    for stage in range(len(config.widths)):
        for block in range(2):
            source, target = f"block{stage + 1}.{block}", f"stage_{stage}_block_{block}"
            for number, name in ((1, "first"), (2, "second")):
                rules += conv(f"{source}.conv{number}", f"{target}/{name}", bias=True)
                rules += batch_norm(f"{source}.bn{number}", f"{target}/{name}_norm")
            rules += conv(f"{source}.shortcut.0", f"{target}/shortcut", bias=False)
            rules += batch_norm(f"{source}.shortcut.1", f"{target}/shortcut_norm")
    rules += batch_norm("bn2", "pooled_norm") + dense("linear1", "hidden")
    rules += batch_norm("bn3", "hidden_norm") + dense("linear2", "out")
    return RuleTable(tuple(rules), ignored=_COUNTERS)


def lwtnet_rules(config: LwtConfig) -> RuleTable:
    """Returns the rules of `LWTNet` of afourast/avobjects.

    Its voice separation is left out; its scale is a layer of one number.
    """

    def stream(source: str, target: str, layers: int, first: Layout, other: Layout, last: Layout) -> list[Rule]:
        rules: list[Rule] = []
        for index in range(layers):
            name = "fc" if index == layers - 1 else "conv"
            layout = first if index == 0 else last if index == layers - 1 else other
            rules.append(Rule(f"{source}.{name}{index + 1}.weight", (f"{target}/conv_{index}/kernel",), layout))
            rules.append(Rule(f"{source}.{name}{index + 1}.bias", (f"{target}/conv_{index}/bias",)))
            rules += batch_norm(f"{source}.bn{index + 1}", f"{target}/norm_{index}")
        return rules

    together = Layout("o i t y x -> y x (t i) o", {"t": config.frames})
    single, point = Layout("o i 1 y x -> y x i o"), Layout("o i 1 1 1 -> i o")
    rules = stream("net_lip", "video", len(config.video), together, single, single)
    rules += stream("net_aud", "audio", len(config.audio), CONV_2D, CONV_2D, CONV_2D)
    for source, target in (("ff_lip", "video_head"), ("ff_aud", "audio_head")):
        for theirs, ours in (("fc7", "first"), ("fc8", "last")):
            rules.append(Rule(f"{source}.{theirs}.weight", (f"{target}/{ours}/kernel",), point))
            rules.append(Rule(f"{source}.{theirs}.bias", (f"{target}/{ours}/bias",)))
        rules += batch_norm(f"{source}.bn7", f"{target}/first_norm")
    rules.append(Rule("logits_scale.weight", ("scale",), Layout("1 1 -> ")))
    return RuleTable(tuple(rules), ignored=(*_COUNTERS, "sepnet.*", "phasenet.*"), zeros=("bias",))
