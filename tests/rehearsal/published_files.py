"""Checkpoints of a few thousand weights in the layouts in which others publish them, imported as a user would.

`write` fills FOLDER/weights as the paper variants of the configs expect it: what `storyjax import` makes of a BLIP-2, a
ResNet-50 and a Deformable DETR that the transformers package has saved.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import safetensors.torch
import tokenizers
import torch
import transformers

from storyjax.cli.main import run

VOCABULARY = 700
WIDTHS, STEM = (16, 24, 32, 40), 8


def write(folder: Path, texts: Iterable[str]) -> None:
    """Writes FOLDER/hub and, imported from it, FOLDER/weights; `texts` are what the tokenizer learns its words of."""
    hub = folder / "hub"
    torch.manual_seed(0)
    for name, model in (("blip2", small_blip2()), ("resnet", _resnet()), ("detr", _detr())):
        scatter(model).config.save_pretrained(hub / name)
        state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        safetensors.torch.save_file(state, hub / name / "model.safetensors", {"format": "pt"})
    tokenizer(texts).save_pretrained(hub / "blip2")
    for kind, source, out in (
        ("blip2", "blip2", "blip2-flan-t5-xl"),
        ("resnet", "resnet", "resnet-50"),
        ("deformable-detr", "detr", "deformable-detr-r50-refine"),
    ):
        assert run(["import", kind, "--from", str(hub / source), "--out", str(folder / "weights" / out)]) == 0


def small_blip2() -> transformers.Blip2ForConditionalGeneration:
    """Returns a BLIP-2 with a tower of one block and a Flan-T5 of one and one."""
    t5 = transformers.T5Config(
        vocab_size=VOCABULARY,
        d_model=24,
        d_kv=8,
        d_ff=32,
        num_heads=2,
        num_layers=1,
        num_decoder_layers=1,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )
    tower = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Blip2Config(
        vision_config={**tower, "image_size": 14, "patch_size": 7},
        qformer_config=tower,
        text_config=t5.to_dict(),
        num_query_tokens=3,
        image_token_index=VOCABULARY - 1,
    )
    model = transformers.Blip2ForConditionalGeneration(config)
    language_model = model.language_model
    language_model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(language_model.shared.weight))
    return model


def _resnet_config(**more: Any) -> transformers.ResNetConfig:
    """Returns the config of a ResNet of the same blocks as ResNet-50, one a stage."""
    sizes = {"embedding_size": STEM, "hidden_sizes": list(WIDTHS), "depths": [1, 1, 1, 1]}
    return transformers.ResNetConfig(**sizes, layer_type="bottleneck", **more)


def _resnet() -> transformers.ResNetForImageClassification:
    return transformers.ResNetForImageClassification(_resnet_config(num_labels=5))


def _detr() -> transformers.DeformableDetrForObjectDetection:
    """Returns a Deformable DETR with refinement on that ResNet."""
    config = transformers.DeformableDetrConfig(
        use_timm_backbone=False,
        backbone_config=_resnet_config(out_features=["stage2", "stage3", "stage4"]),
        num_queries=16,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        num_labels=5,
        with_box_refine=True,
        disable_custom_kernels=True,
    )
    return transformers.DeformableDetrForObjectDetection(config)


def scatter(model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def tokenizer(texts: Iterable[str]) -> transformers.PreTrainedTokenizerFast:
    """Returns a tokenizer that can spell everything, with T5's special tokens; answers are two tokens, as T5's are."""
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2,
        special_tokens=["<pad>", "</s>", "<unk>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([*(f"Option {letter}" for letter in "ABCDE" * 200), *texts], trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
