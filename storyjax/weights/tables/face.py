"""The rule table of VGGFace2's published PyTorch networks (their `senet50_128.pth` and its like)."""

from storyjax.models.seresnet import SEResNetConfig
from storyjax.weights.rules import Layout, Rule, RuleTable

_CONV = Layout("o i y x -> y x i o")
# Fully connected layers that the published networks keep as 1 × 1 convolutions.
_POINT = Layout("o i 1 1 -> i o")


def seresnet_rules(config: SEResNetConfig) -> RuleTable:
    """Names such as "conv3_1_1x1_reduce.weight": stages count from 2, blocks from 1.

    Every batch norm also has a counter of batches, which is no weight.
    """
    rules, norms = [], []

    def conv(source: str, target: str) -> None:
        rules.append(Rule(f"{source}.weight", (f"{target}/kernel",), _CONV))
        norm = f"{source}_bn"
        norms.append(norm)
        parts = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "variance"}
        rules.extend(Rule(f"{norm}.{theirs}", (f"{target}_norm/{ours}",)) for theirs, ours in parts.items())

    conv("conv1_7x7_s2", "stem")
    for stage, depth in enumerate(config.depths):
        for block in range(depth):
            source, target = f"conv{stage + 2}_{block + 1}", f"stage_{stage}_block_{block}"
            conv(f"{source}_1x1_reduce", f"{target}/reduce")
            conv(f"{source}_3x3", f"{target}/middle")
            conv(f"{source}_1x1_increase", f"{target}/increase")
            for theirs, ours in (("down", "squeeze"), ("up", "excite")):
                rules.append(Rule(f"{source}_1x1_{theirs}.weight", (f"{target}/{ours}/kernel",), _POINT))
                rules.append(Rule(f"{source}_1x1_{theirs}.bias", (f"{target}/{ours}/bias",)))
            if block == 0:
                conv(f"{source}_1x1_proj", f"{target}/project")
    rules.append(Rule("feat_extract.weight", ("embedding/kernel",), _POINT))
    return RuleTable(tuple(rules), ignored=tuple(f"{norm}.num_batches_tracked" for norm in norms))
