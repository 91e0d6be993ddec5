"""Checkpoints of tiny models as the transformers package saves them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
import torch
import transformers

T5_SIZES = {"vocab_size": 96, "d_model": 24, "d_kv": 8, "d_ff": 32, "num_heads": 2, "num_layers": 2}


def _t5_config() -> transformers.T5Config:
    return transformers.T5Config(
        **T5_SIZES,
        num_decoder_layers=1,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        dense_act_fn="gelu",
        decoder_start_token_id=0,
    )


def _scatter(model: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def _untied(model: transformers.T5ForConditionalGeneration) -> None:
    model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.shared.weight))


@pytest.fixture(scope="session")
def tiny_t5() -> transformers.T5ForConditionalGeneration:
    model = transformers.T5ForConditionalGeneration(_t5_config())
    _untied(model)
    return _scatter(model)


@pytest.fixture(scope="session")
def tiny_blip2() -> transformers.Blip2ForConditionalGeneration:
    config = transformers.Blip2Config(
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 20,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 14,
            "patch_size": 7,
        },
        qformer_config={
            "hidden_size": 12,
            "intermediate_size": 20,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
        text_config=_t5_config().to_dict(),
        num_query_tokens=3,
        image_token_index=95,
    )
    model = transformers.Blip2ForConditionalGeneration(config)
    _untied(model.language_model)
    _scatter(model)
    with torch.no_grad():
        for layer in model.vision_model.encoder.layers:
            layer.self_attn.qkv.bias[16:32] = 0  # EVA's keys have no bias, and LAVIS no place for one
    return model


@pytest.fixture(scope="session")
def tiny_clip() -> transformers.CLIPModel:
    tower = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        vision_config={**tower, "image_size": 14, "patch_size": 7},
        text_config={**tower, "vocab_size": 40, "max_position_embeddings": 8, "bos_token_id": 38, "eos_token_id": 39},
        projection_dim=12,
    )
    return _scatter(transformers.CLIPModel(config))


@pytest.fixture(scope="session")
def save(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves a model, once for each way of sharding, and a tokenizer beside it; gives a fresh copy to damage."""

    def to(folder: Path, model: transformers.PreTrainedModel, max_shard_size: str = "5GB") -> Path:
        model.save_pretrained(folder, max_shard_size=max_shard_size)
        words = {word: index for index, word in enumerate(["<pad>", "</s>", "<unk>", "who", "danced", "?"])}
        backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
        backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
        )
        tokenizer.save_pretrained(folder)
        return folder

    return to


def _lavis_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A BLIP-2 under the names that LAVIS saves it by."""
    state = {}
    for name, tensor in model.state_dict().items():
        if "self_attn.qkv.bias" in name:
            block = name.split(".")[3]
            state[f"visual_encoder.blocks.{block}.attn.q_bias"] = tensor[:16].clone()
            state[f"visual_encoder.blocks.{block}.attn.v_bias"] = tensor[32:].clone()
            continue
        for theirs, lavis in (
            ("vision_model.post_layernorm", "ln_vision"),
            ("vision_model.embeddings.class_embedding", "visual_encoder.cls_token"),
            ("vision_model.embeddings.position_embedding", "visual_encoder.pos_embed"),
            ("vision_model.embeddings.patch_embedding", "visual_encoder.patch_embed.proj"),
            ("vision_model.encoder.layers", "visual_encoder.blocks"),
            ("self_attn.projection", "attn.proj"),
            ("self_attn.qkv", "attn.qkv"),
            ("layer_norm1", "norm1"),
            ("layer_norm2", "norm2"),
            ("qformer.layernorm", "Qformer.bert.embeddings.LayerNorm"),
            ("attention.attention", "attention.self"),
            ("qformer.encoder", "Qformer.bert.encoder"),
            ("language_projection", "t5_proj"),
            ("language_model", "t5_model"),
        ):
            if lavis.startswith("norm") and "vision_model" not in name and "visual_encoder" not in name:
                continue
            name = name.replace(theirs, lavis)
        state[name] = tensor.clone()
    return state


@pytest.fixture(scope="session")
def lavis_state() -> Callable[[torch.nn.Module], dict[str, torch.Tensor]]:
    return _lavis_state


def _openai_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A CLIP under the names that OpenAI saves it by."""
    theirs = model.state_dict()
    state = {
        "visual.class_embedding": theirs["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": theirs["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": theirs["vision_model.embeddings.patch_embedding.weight"],
        "visual.proj": theirs["visual_projection.weight"].T.contiguous(),
        "text_projection": theirs["text_projection.weight"].T.contiguous(),
        "token_embedding.weight": theirs["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": theirs["text_model.embeddings.position_embedding.weight"],
        "logit_scale": theirs["logit_scale"],
        "context_length": torch.tensor(8),
    }
    for kind in ("weight", "bias"):
        state |= {
            f"visual.ln_pre.{kind}": theirs[f"vision_model.pre_layrnorm.{kind}"],
            f"visual.ln_post.{kind}": theirs[f"vision_model.post_layernorm.{kind}"],
            f"ln_final.{kind}": theirs[f"text_model.final_layer_norm.{kind}"],
        }
        for tower, stack in (("vision_model", "visual.transformer"), ("text_model", "transformer")):
            for block in range(2):
                layer, to = f"{tower}.encoder.layers.{block}", f"{stack}.resblocks.{block}"
                qkv = [theirs[f"{layer}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
                state[f"{to}.attn.in_proj_{kind}"] = torch.cat(qkv)
                for here, there in (
                    ("self_attn.out_proj", "attn.out_proj"),
                    ("layer_norm1", "ln_1"),
                    ("layer_norm2", "ln_2"),
                    ("mlp.fc1", "mlp.c_fc"),
                    ("mlp.fc2", "mlp.c_proj"),
                ):
                    state[f"{to}.{there}.{kind}"] = theirs[f"{layer}.{here}.{kind}"]
    return state


@pytest.fixture(scope="session")
def openai_state() -> Callable[[torch.nn.Module], dict[str, torch.Tensor]]:
    return _openai_state
