"""Checkpoints as other people's programs wrote them: which files they are, and what is in them, unread.

safetensors, alone or in shards with an index; PyTorch's files, if torch is installed, and only as plain state dicts; a
Hugging Face id, which is downloaded first.
"""

import argparse
import json
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from storyjax.core.errors import StoryjaxError
from storyjax.weights.hub_files import fetch
from storyjax.weights.tensor_files import Tensor, stored_tensors

TORCH_SUFFIXES = (".bin", ".pth", ".pt", ".ckpt", ".tar")
# Files that a tokenizer of the transformers package may consist of.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
)
GENERATION = "generation_config.json"  # how a published language model decodes
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
# Keys under which training programs save the state dict.
_WRAPPERS = ("model", "state_dict", "module")
# What DistributedDataParallel and torch.compile put before the names of what they wrap, also of a part of a model.
_DISTRIBUTED, _COMPILED = "module.", re.compile(r"(^|\.)_orig_mod\.")


def locate(place: str) -> Path:
    """Returns the local file or folder that `place` names; a Hugging Face id that is no path is downloaded.

    Raises:
        StoryjaxError: it is neither, or cannot be downloaded.
    """
    path = Path(place)
    if path.exists():
        return path
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", place):
        raise StoryjaxError(f"no checkpoint at {place}: give a folder, a file, or a Hugging Face id (OWNER/NAME)")
    beside = ["config.json", GENERATION, *TOKENIZER_FILES]
    folder = fetch(place, [*beside, "model*.safetensors", "model.safetensors.index.json"])
    if not has_weights(folder):  # published before there was safetensors
        folder = fetch(place, [*beside, "pytorch_model*.bin", "pytorch_model.bin.index.json"])
    return folder


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, unread.

    Attributes:
        tensors: by name, unread.
        folder: where config.json and the tokenizer are, if they are.
        files: that hold the tensors.
    """

    tensors: Mapping[str, Tensor]
    folder: Path
    files: tuple[Path, ...] = ()


def open_checkpoint(path: Path) -> Checkpoint:
    """Returns the checkpoint in a file or folder.

    Raises:
        StoryjaxError: a shard is missing or cut short, or there are no weights, or those of several models.
    """
    folder = path if path.is_dir() else path.parent
    files = _files(path) if path.is_dir() else [path]
    tensors: dict[str, Tensor] = {}
    for file in files:
        for name, tensor in _tensors(file).items():
            if name in tensors:
                raise StoryjaxError(f"{path}: two files hold '{name}'; keep the files of one model only")
            tensors[name] = tensor
    return Checkpoint(_unwrapped(tensors, path), folder, tuple(files))


def _unwrapped(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors under the names that they have in the model itself, whatever it was wrapped in when it was saved."""
    names = {name: _COMPILED.sub(r"\1", name) for name in tensors}
    while names and all(name.startswith(_DISTRIBUTED) for name in names.values()):
        names = {old: _COMPILED.sub(r"\1", new.removeprefix(_DISTRIBUTED)) for old, new in names.items()}
    found: dict[str, Tensor] = {}
    for old, new in names.items():
        if new in found:
            raise StoryjaxError(f"{path} holds '{new}' twice, once as '{old}'; keep the tensors of one model only")
        found[new] = tensors[old]
    return found


def _tensors(file: Path) -> Mapping[str, Tensor]:
    if is_lfs_pointer(file):
        raise StoryjaxError(f"{file} is Git LFS's pointer to the weights, not the weights: 'git lfs pull' fetches them")
    if file.suffix == ".safetensors":
        return stored_tensors(file)
    if file.suffix in TORCH_SUFFIXES:
        return torch_tensors(file)
    known = ", ".join((".safetensors", *TORCH_SUFFIXES))
    raise StoryjaxError(f"{file} is no checkpoint that storyjax reads: those end in {known}")


def _files(folder: Path) -> list[Path]:
    """The files of the model in a folder; of several copies of it, the first in this order of preference."""
    for index, single in (
        ("model.safetensors.index.json", "model.safetensors"),
        ("pytorch_model.bin.index.json", "pytorch_model.bin"),
    ):
        if (folder / index).is_file():
            return _shards(folder / index)
        if (folder / single).is_file():
            return [folder / single]
    for suffix in (".safetensors", *TORCH_SUFFIXES):
        found = sorted(folder.glob(f"*{suffix}"))
        if len(found) == 1:
            return found
        if found:
            raise StoryjaxError(
                f"{folder} has {len(found)} {suffix} files and no {suffix.strip('.')} index that says which make a"
                f" model ({found[0].name}, {found[1].name}): name the file, or fetch the index"
            )
    raise StoryjaxError(f"no weights in {folder}: there is no .safetensors file, nor one of PyTorch's")


def is_lfs_pointer(file: Path) -> bool:
    """Returns whether a file is what git without LFS leaves in place of a large one."""
    try:
        with open(file, "rb") as stream:
            return stream.read(len(_LFS_POINTER)) == _LFS_POINTER
    except OSError:
        return False


def has_weights(folder: Path) -> bool:
    """Returns whether a folder is there and holds any file that weights may be in."""
    return any(any(folder.glob(f"*{suffix}")) for suffix in (".safetensors", *TORCH_SUFFIXES))


def _shards(index: Path) -> list[Path]:
    """The files that an index names. Each must be there and hold the tensors that the index lists."""
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        by_file: dict[str, list[str]] = {}
        for name, file in places.items():
            by_file.setdefault(file, []).append(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoryjaxError(f"{index} is not an index of shards: fetch it again") from error
    for file, names in by_file.items():
        if os.path.basename(file) != file:
            raise StoryjaxError(f"{index} names a file outside of its folder, '{file}'")
        if not (index.parent / file).is_file():
            raise StoryjaxError(
                f"{index.parent / file} is missing: {index.name} says that {len(names)} tensors are in it; fetch it"
            )
        if file.endswith(".safetensors"):
            lacking = sorted(set(names) - set(stored_tensors(index.parent / file)))
            if lacking:
                raise StoryjaxError(f"{index.parent / file} lacks '{lacking[0]}', which {index.name} says is in it")
    return [index.parent / file for file in sorted(by_file)]


def torch_tensors(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a file that torch.save wrote, mapped into memory rather than read.

    Raises:
        StoryjaxError: torch is not installed, or the file holds anything but a state dict. No code of a pickle is ever
            executed.
    """
    try:
        import torch
    except ImportError as error:
        raise StoryjaxError(
            f"{path} is a PyTorch file, and reading it needs torch: pip install 'storyjax[torch]', or take the"
            " safetensors that most models are published in"
        ) from error
    from pickle import UnpicklingError

    refused = StoryjaxError(
        f"{path} is refused: it is a pickle of more than a plain state dict, and reading it could run whatever its"
        " maker put there; save its state_dict() instead"
    )
    try:
        # Training programs like DETR's keep their command line beside the weights.
        known = [argparse.Namespace, *_numbers()]
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(known):
            try:
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except (RuntimeError, ValueError) as error:
                if "mmap" not in str(error):
                    raise
                # Files of before 2020 cannot be mapped.
                content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise refused from error
    except (RuntimeError, ValueError, EOFError, KeyError, OSError) as error:
        if "TorchScript" in str(error):  # OpenAI's own files are such
            raise StoryjaxError(
                f"{path} is refused: it is a TorchScript program, not a state dict; take the model from the Hugging"
                " Face hub, or save its state_dict()"
            ) from error
        line = " ".join(str(error).split())[:120]
        raise StoryjaxError(
            f"cannot read {path} ({line}): it is cut short or no PyTorch file; fetch it again"
        ) from error
    return {name: _TorchTensor(tensor) for name, tensor in _state_dict(content, path, torch.Tensor).items()}


def _numbers() -> list[Any]:
    """What NumPy scalars consist of in a pickle: training programs keep a loss beside the weights."""
    kinds = {type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")}
    scalar = np.float64(0).__reduce__()[0]
    return [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), np.dtype, *kinds]


def _state_dict(content: Any, path: Path, kind: type) -> dict[str, Any]:
    """The state dict in what a training program saved."""
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise StoryjaxError(f"{path} is refused: it holds {type(content).__name__}, not a plain state dict")
    odd = [f"'{name}' is a {type(value).__name__}" for name, value in content.items() if not isinstance(value, kind)]
    if odd:
        raise StoryjaxError(f"{path} is refused: it is not a plain state dict, {odd[0]}")
    return content


class _TorchTensor:
    """A tensor of PyTorch, converted to NumPy when it is read."""

    def __init__(self, tensor: Any):
        self._tensor = tensor
        self.shape = tuple(tensor.shape)
        name = str(tensor.dtype).removeprefix("torch.")
        try:
            self.dtype = np.dtype(name)
        except TypeError:  # quantised types, which NumPy does not have
            self.dtype = np.dtype(np.int8)

    def read(self) -> np.ndarray:
        tensor = self._tensor.detach().contiguous()
        if self.dtype.name == "bfloat16":
            import torch

            return tensor.view(torch.int16).numpy().view(self.dtype)
        return tensor.numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.read(), dtype, copy=copy)


def hub_config(folders: Sequence[Path], model_types: Sequence[str]) -> Any:
    """Returns the config of the config.json in one of the folders, as the transformers package reads it, or None.

    Raises:
        StoryjaxError: it is of another kind of model, or cannot be read.
    """
    path = next((folder / "config.json" for folder in folders if (folder / "config.json").is_file()), None)
    if path is None:
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        kind = stored.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise StoryjaxError(f"{path} is not a model's config.json: fetch it again") from error
    if kind not in model_types:
        if len(folders) > 1:
            return None  # of a part of the model
        wanted = " or ".join(f"'{model_type}'" for model_type in model_types) or "one that storyjax reads here"
        raise StoryjaxError(f"{path} describes a model of the type '{kind}', not {wanted}")
    from transformers import AutoConfig  # takes a second or two

    try:
        return AutoConfig.from_pretrained(path.parent, local_files_only=True)
    except Exception as error:  # its validators raise errors of many kinds
        line = " ".join(str(error).split())[:160]
        raise StoryjaxError(f"{path} cannot be used: {line}") from error
