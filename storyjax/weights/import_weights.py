"""`storyjax import`: a published checkpoint becomes a folder of ours, a tensor at a time.

What is missing, left over, misshapen or no floating-point number is found before anything is written, from the files'
headers alone. Then each array is read, turned into our layout and written to its place in the new file, so that no more
than the largest array (and its copy in our layout) is in memory.
"""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from tqdm import tqdm

from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError
from storyjax.weights.registry import PUBLISHED, Family, Layout
from storyjax.weights.rules import Planned, RuleTable, plan, refuse_difference, repeated
from storyjax.weights.source_files import TOKENIZER_FILES, Checkpoint, hub_config, locate, open_checkpoint
from storyjax.weights.tensor_files import Tensor, check_new, new_folder, write_tensors

DTYPES = {
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
}


@dataclass(frozen=True)
class Imported:
    """What was written: where, how many parameters and bytes, from which layout, and what its owner should know."""

    folder: Path
    parameters: int
    nbytes: int
    layout: str
    notes: tuple[str, ...]

    def in_words(self) -> str:
        return f"{self.parameters:,} parameters ({self.nbytes / 1e9:.2f} GB, {self.layout} layout) in {self.folder}"


def import_model(
    name: str, places: Sequence[str], out: str | Path, dtype: str | None = None, progress: bool = True
) -> Imported:
    """Imports a published model.

    Args:
        name: of PUBLISHED.
        places: a folder, a file or a Hugging Face id; several, if its parts are published apart.
        out: the new folder: config.json, model.safetensors and the tokenizer's files.
        dtype: of the written numbers, a key of DTYPES; None keeps what they are published in.
        progress: whether to show a bar on standard error.

    Raises:
        StoryjaxError: an unknown name, a checkpoint that is not whole or of another model, a folder that cannot be
            written. Nothing is written then.
    """
    published = PUBLISHED[choose(name, PUBLISHED, "model")]
    check_new(out)
    stored_as = None if dtype is None else DTYPES[choose(dtype, DTYPES, "--dtype")]
    checkpoints = [open_checkpoint(locate(place)) for place in places]
    where = " and ".join(places)
    layout, tensors = _layout(published.family, checkpoints, where)
    folders = [checkpoint.folder for checkpoint in checkpoints]
    # What `transformers` does not know, no config.json of its kind describes.
    hub = hub_config(folders, published.family.model_types) if published.family.model_types else None
    config = published.resolve(name, None if hub is None else published.family.from_hub(hub), where)
    shapes = {path: tuple(leaf.shape) for path, leaf in published.family.shapes(config).items()}
    table = layout.table(config)
    planned = plan(table, tensors, shapes, where)
    written = {path: stored_as or tensors[step.source].dtype for step in planned for path in step.paths}
    # What the layout leaves out is of the type of the rest.
    common = stored_as or next(iter(written.values()))
    laid_out = {path: (shape, written.get(path, common)) for path, shape in shapes.items()}
    metadata = {"model": name, "layout": layout.name, "made_by": "storyjax import"}
    with new_folder(out) as folder:
        with tqdm(
            total=sum(_nbytes(tensors[step.source]) for step in planned),
            unit="B",
            unit_scale=True,
            desc=f"importing {name}",
            disable=None if progress else True,
        ) as bar:
            arrays = _arrays(table, planned, tensors, laid_out, where, bar)
            write_tensors(folder / "model.safetensors", laid_out, arrays, metadata)
        (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")
        notes = _copy_tokenizer(checkpoints, folder, published.family.needs_tokenizer)
    nbytes = sum(int(np.prod(shape, dtype=np.int64)) * kind.itemsize for shape, kind in laid_out.values())
    parameters = sum(int(np.prod(shape, dtype=np.int64)) for shape, _ in laid_out.values())
    return Imported(Path(out), parameters, nbytes, layout.name, notes)


def _nbytes(tensor: Tensor) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64)) * tensor.dtype.itemsize


def _layout(family: Family, checkpoints: Sequence[Checkpoint], where: str) -> tuple[Layout, dict[str, Tensor]]:
    """The layout that the names are of, and all tensors under their names in it."""
    names = [name for checkpoint in checkpoints for name in checkpoint.tensors]
    for layout in family.layouts:
        if any(name.startswith(layout.signs) for name in names):
            tensors: dict[str, Tensor] = {}
            for checkpoint in checkpoints:
                for name, tensor in checkpoint.tensors.items():
                    name = layout.rename(name)
                    if name in tensors:
                        raise StoryjaxError(f"{where}: two places hold '{name}'; give each part of the model once")
                    tensors[name] = tensor
            return layout, tensors
    known = " or ".join(f"{layout.name}'s ('{layout.signs[0]}...')" for layout in family.layouts)
    example = f"'{names[0]}' and so on" if names else "nothing"
    raise StoryjaxError(f"the weights in {where} are of another model: they have {example}, not the names of {known}")


def _arrays(
    table: RuleTable,
    planned: Sequence[Planned],
    tensors: Mapping[str, Tensor],
    laid_out: Mapping[str, tuple[tuple[int, ...], np.dtype]],
    where: str,
    bar: tqdm,
) -> Iterator[tuple[str, np.ndarray]]:
    """Our arrays one after another; the ones that the source leaves out are zeros."""
    for first, other, name in repeated(table, tensors):
        if tensors[first].shape != tensors[other].shape or not np.array_equal(
            tensors[first].read(), tensors[other].read()
        ):
            refuse_difference(where, other, name)
    given = set()
    for step in planned:
        tensor = tensors[step.source]
        for path, array in step.ours(tensor.read()).items():
            given.add(path)
            yield path, array
            del array  # or it would be in memory beside the next one
        bar.update(_nbytes(tensor))
    for path, (shape, kind) in laid_out.items():
        if path not in given:
            yield path, np.zeros(shape, kind)


def _copy_tokenizer(checkpoints: Sequence[Checkpoint], folder: Path, needed: bool) -> tuple[str, ...]:
    """Copies the tokenizer's files along and sees whether it loads; what the owner should know."""
    if not needed:
        return ()
    for checkpoint in checkpoints:
        files = [checkpoint.folder / name for name in TOKENIZER_FILES if (checkpoint.folder / name).is_file()]
        if not files:
            continue
        for file in files:
            shutil.copyfile(file, folder / file.name)
        return _check_tokenizer(folder, checkpoint.folder)
    return (f"no tokenizer came with it: put its files ({', '.join(TOKENIZER_FILES[:2])} ...) into the folder",)


def _check_tokenizer(folder: Path, origin: Path) -> tuple[str, ...]:
    """Loads the copied tokenizer once; what the owner should know of it."""
    from transformers import AutoTokenizer

    try:
        ids = AutoTokenizer.from_pretrained(folder, local_files_only=True).encode("who danced ?")
    except ImportError as error:  # some need a package of their own, which says nothing against the files
        return (f"its tokenizer could not be tried: {' '.join(str(error).split())[:160]}",)
    except Exception as error:  # of many kinds: a broken file, a class that is not known
        line = " ".join(str(error).split())[:160]
        raise StoryjaxError(f"the tokenizer in {origin} does not load: {line}; fetch its files again") from error
    if not ids:
        raise StoryjaxError(f"the tokenizer in {origin} gives no tokens for words; fetch its files again")
    return ()
