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
    """Saves a model, once for each way of sharding, and a tokenizer beside it; gives a fresh copy to spoil."""

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
