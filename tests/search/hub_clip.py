"""A small random CLIP in the layout of the hub."""

from pathlib import Path

import tokenizers
import torch
import transformers

PROMPTS = ("a red room", "two children on a beach", "blue")
SIDE = 16


def write_clip(path: Path) -> Path:
    """Writes a small random CLIP with its tokenizer, as the hub has it, and returns its folder."""
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<|endoftext|>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(PROMPTS, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
    )
    tower = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 20, "eos_token_id": tokenizer.eos_token_id}
    config = transformers.CLIPConfig(
        text_config={**tower, **text, "bos_token_id": tokenizer.bos_token_id},
        vision_config={**tower, "image_size": SIDE, "patch_size": 8},
        projection_dim=12,
    )
    torch.manual_seed(0)
    model = transformers.CLIPModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
