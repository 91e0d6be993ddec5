"""`storyjax import`: a published checkpoint becomes a folder of ours, a tensor at a time.

Tensors that are missing, left over, misshapen or no floating-point numbers are found before anything is written, from
the files' headers alone. Then each tensor is read, converted and written to its place in the new file, so that no more
than the largest one (and its copy in our layout) is in memory.
"""

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from tqdm import tqdm

from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError
from storyjax.weights.conversion import Conversion, match_layout, plan_conversion
from storyjax.weights.model_family import Published
from storyjax.weights.pretrained import LABELS
from storyjax.weights.registry import PUBLISHED
from storyjax.weights.source_files import GENERATION, TOKENIZER_FILES, Checkpoint, hub_config, locate, open_checkpoint
from storyjax.weights.tensor_files import Tensor, check_new, new_folder, write_tensors

DTYPES = {
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
}


@dataclass(frozen=True)
class Imported:
    """What was written.

    Attributes:
        folder: the new folder.
        parameters, nbytes: their number and size.
        layout: of the checkpoint.
        notes: what the user should know about it.
    """

    folder: Path
    parameters: int
    nbytes: int
    layout: str
    notes: tuple[str, ...]

    def in_words(self) -> str:
        """Returns a line that says what was written where."""
        return f"{self.parameters:,} parameters ({self.nbytes / 1e9:.2f} GB, {self.layout} layout) in {self.folder}"


@dataclass(frozen=True)
class Import:
    """A published checkpoint that was compared with the model it is to be: what was read of it is its headers.

    Attributes:
        name: of PUBLISHED.
        published: the model of that name.
        config: its architecture.
        layout: that the checkpoint is in.
        checkpoints: its parts, unread.
        conversion: how its tensors become parameters.
        labels: names of a classifier's classes in order, where its config.json has any.
    """

    name: str
    published: Published
    config: Any
    layout: str
    checkpoints: Sequence[Checkpoint]
    conversion: Conversion
    labels: tuple[str, ...] = ()

    def files(self) -> list[Path]:
        """Returns the files that the import reads: weights, configs and the tokenizer's."""
        names = ("config.json", GENERATION, *TOKENIZER_FILES)
        beside = [one.folder / name for one in self.checkpoints for name in names]
        weights = [file for one in self.checkpoints for file in one.files]
        used = beside if self.published.family.model_types else []
        return list(dict.fromkeys([*weights, *(path for path in used if path.is_file())]))


def plan_import(name: str, places: Sequence[str]) -> Import:
    """Returns how the checkpoint in these places becomes the model `name`; nothing but headers is read.

    Raises:
        StoryjaxError: an unknown name, or a checkpoint that is not whole or of another model.
    """
    published = PUBLISHED[choose(name, PUBLISHED, "model")]
    checkpoints = [open_checkpoint(locate(place)) for place in places]
    where = " and ".join(places)
    layout, tensors = match_layout(published.family, checkpoints, where)
    folders = [checkpoint.folder for checkpoint in checkpoints]
    # What `transformers` does not know, no config.json of its kind describes.
    hub = hub_config(folders, published.family.model_types) if published.family.model_types else None
    config = published.resolve(name, None if hub is None else published.family.from_hub(hub), where)
    conversion = plan_conversion(published.family, config, layout, tensors, where)
    return Import(name, published, config, layout.name, checkpoints, conversion, _class_names(hub))


def import_model(
    name: str, places: Sequence[str], out: str | Path, dtype: str | None = None, progress: bool = True
) -> Imported:
    """Imports a published model; returns what was written.

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
    choose(name, PUBLISHED, "model")
    check_new(out)
    return write_import(plan_import(name, places), out, dtype, progress)


def write_import(planned: Import, out: str | Path, dtype: str | None = None, progress: bool = True) -> Imported:
    """Writes what was planned; arguments, result and errors as of `import_model`."""
    stored_as = None if dtype is None else DTYPES[choose(dtype, DTYPES, "--dtype")]
    conversion = planned.conversion
    laid_out = {path: (conversion.shapes[path], stored_as or kind) for path, kind in conversion.dtypes().items()}
    metadata = {"model": planned.name, "layout": planned.layout, "made_by": "storyjax import"}
    with new_folder(out) as folder:
        with tqdm(
            total=sum(_nbytes(conversion.tensors[step.source]) for step in conversion.steps),
            unit="B",
            unit_scale=True,
            desc=f"importing {planned.name}",
            disable=None if progress else True,
        ) as bar:
            write_tensors(folder / "model.safetensors", laid_out, _arrays(conversion, laid_out, bar), metadata)
        (folder / "config.json").write_text(json.dumps(dataclasses.asdict(planned.config), indent=2) + "\n")
        if planned.labels:
            text = json.dumps(planned.labels, indent=2, ensure_ascii=False) + "\n"
            (folder / LABELS).write_text(text, encoding="utf-8")
        notes = _copy_tokenizer(planned.checkpoints, folder, planned.published.family.needs_tokenizer)
    nbytes = sum(int(np.prod(shape, dtype=np.int64)) * kind.itemsize for shape, kind in laid_out.values())
    parameters = sum(int(np.prod(shape, dtype=np.int64)) for shape, _ in laid_out.values())
    return Imported(Path(out), parameters, nbytes, planned.layout, notes)


def _class_names(hub: Any) -> tuple[str, ...]:
    """The names of a classifier's classes in order, none where its config.json has only numbers for them."""
    pairs = sorted(getattr(hub, "id2label", {}).items(), key=lambda pair: int(pair[0]))
    names = tuple(str(name) for _, name in pairs)
    return () if all(re.fullmatch(r"LABEL_\d+", name) for name in names) else names


def _nbytes(tensor: Tensor) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64)) * tensor.dtype.itemsize


def _arrays(
    conversion: Conversion, laid_out: Mapping[str, tuple[tuple[int, ...], np.dtype]], bar: tqdm
) -> Iterator[tuple[str, np.ndarray]]:
    """The parameters one after another, each tensor of the checkpoint read once."""
    for pair in conversion.repeated():
        conversion.refuse_difference(*pair)
    given = set()
    for step in conversion.steps:
        for path, array in conversion.arrays(step).items():
            given.add(path)
            yield path, _narrowed(array, laid_out[path][1], step.source)
            del array  # or it would be in memory beside the next one
        bar.update(_nbytes(conversion.tensors[step.source]))
    for path, (shape, kind) in laid_out.items():
        if path not in given:  # zeros, which the layout leaves out
            yield path, np.zeros(shape, kind)


def _narrowed(array: np.ndarray, kind: np.dtype, source: str) -> np.ndarray:
    """The array in the type that is written. StoryjaxError where the type can't hold its numbers."""
    if array.dtype == kind:
        return array
    with np.errstate(over="ignore"):
        narrow = array.astype(kind)
    if not np.isfinite(narrow).all():
        raise StoryjaxError(
            f"'{source}' holds {float(np.abs(array).max()):.3g}, more than {kind.name} can: take --dtype bfloat16"
        )
    return narrow


def _copy_tokenizer(checkpoints: Sequence[Checkpoint], folder: Path, needed: bool) -> tuple[str, ...]:
    """Copies the tokenizer's files, and how the model decodes, and checks that the tokenizer loads; returns what the
    user should know."""
    if not needed:
        return ()
    for checkpoint in checkpoints:
        files = [checkpoint.folder / name for name in TOKENIZER_FILES if (checkpoint.folder / name).is_file()]
        if not files:
            continue
        if (checkpoint.folder / GENERATION).is_file():
            files.append(checkpoint.folder / GENERATION)
        for file in files:
            shutil.copyfile(file, folder / file.name)
        return _check_tokenizer(folder, checkpoint.folder)
    return (f"no tokenizer came with it: put its files ({', '.join(TOKENIZER_FILES[:2])} ...) into the folder",)


def _check_tokenizer(folder: Path, origin: Path) -> tuple[str, ...]:
    """Loads the copied tokenizer once; returns what the user should know."""
    from transformers import AutoTokenizer

    try:
        ids = AutoTokenizer.from_pretrained(folder, local_files_only=True).encode("who danced ?")
    except ImportError as error:  # some need a package of their own, and the files may be good
        return (f"its tokenizer could not be tried: {' '.join(str(error).split())[:160]}",)
    except Exception as error:  # of many kinds: a broken file, an unknown class
        line = " ".join(str(error).split())[:160]
        raise StoryjaxError(f"the tokenizer in {origin} does not load: {line}; fetch its files again") from error
    if not ids:
        raise StoryjaxError(f"the tokenizer in {origin} gives no tokens for words; fetch its files again")
    return ()
