"""A small random Deformable DETR in the layout of the hub."""

from pathlib import Path

import safetensors.torch
import torch
import transformers

NAMES = {0: "N/A", 1: "person", 2: "dog", 3: "cup"}


def small_detr() -> transformers.DeformableDetrForObjectDetection:
    """Returns a detector of a few thousand random parameters, for the classes NAMES."""
    backbone = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[16, 16, 32, 32],
        depths=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.DeformableDetrConfig(
        use_timm_backbone=False,
        backbone_config=backbone,
        num_queries=12,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        with_box_refine=True,
        disable_custom_kernels=True,
        id2label=NAMES,
        label2id={name: number for number, name in NAMES.items()},
    )
    torch.manual_seed(0)
    made = transformers.DeformableDetrForObjectDetection(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return made.eval()


def write_detr(model: transformers.PreTrainedModel, path: Path) -> Path:
    """Writes the model as the hub has it: the class heads of all layers, of which transformers 5 saves one alone."""
    model.config.save_pretrained(path)
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    safetensors.torch.save_file(state, path / "model.safetensors", {"format": "pt"})
    return path
