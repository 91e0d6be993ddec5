"""`storyjax models get` and `storyjax models list`: published models in the models folder, and whether they are whole.

Weights are imported as `storyjax import` does it. Beside them lies a record (roles.RECORD): what was fetched, from
where, and the SHA-256 of every file that was read and of every file that was written.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

import storyjax
from storyjax.core.errors import StoryjaxError, nearest
from storyjax.core.files import exclusive_lock, json_text, write_atomically
from storyjax.weights.hub_files import HubError, check_hub_hashes, fetch, partial_files, sha256
from storyjax.weights.import_weights import Import, plan_import, write_import
from storyjax.weights.registry import PUBLISHED
from storyjax.weights.roles import RECORD, ROLES, Choice, Model, Role, in_folder, model_for, models_folder, read_record
from storyjax.weights.source_files import has_weights, locate
from storyjax.weights.tensor_files import new_folder
from storyjax.weights.whisper_files import copy_whisper, whisper_files


@dataclass(frozen=True)
class Got:
    """A model in the models folder.

    Attributes:
        folder: of the role.
        line: what was done, for people.
        notes: what the user should know about it.
    """

    folder: Path
    line: str
    notes: tuple[str, ...] = ()


def get(
    role: Role,
    models_dir: str | None = None,
    source: str | None = None,
    model: str | None = None,
    dtype: str | None = None,
    replace: bool = False,
    by_name: bool = False,
    progress: bool = True,
) -> Got:
    """Puts a published model for a role into the models folder; returns what was done.

    Args:
        role: of roles.ROLES.
        models_dir: the models folder; None: see `roles.models_folder`.
        source: a file or folder as it was published; None downloads from the hub.
        model: a name among the role's; None: what is in `source`, or the role's first.
        dtype: as of `import_model`.
        replace: whether another model of the role, which this function put there, is replaced.
        by_name: whether `source` holds models of several roles, so that only names say what is this role's.
        progress: whether to show bars on standard error.

    Raises:
        StoryjaxError: an unknown name, a model that cannot be had, or that is not whole or does not serve the role; the
            models folder is then as it was.
    """
    root = models_folder(models_dir)
    if root is None:
        raise StoryjaxError("there is no models folder, for it is 'off': give --models DIR")
    if model is not None and model not in (known := [*(one.name for one in role.models), *role.families]):
        raise StoryjaxError(f"'{model}' does not serve '{role.name}'.{nearest(model, known)} Known: {', '.join(known)}")
    target = root / role.name
    there = _already_there(role, target, model, source, replace)
    if there is not None:
        return there
    name, place, origin = _local(role, source, model, by_name) if source else _downloaded(role, model)
    planned = name if role.as_published else plan_import(name, [str(place)])
    read = whisper_files(place) if isinstance(planned, str) else planned.files()
    if target.exists() and any(path.resolve().is_relative_to(target.resolve()) for path in read):
        raise StoryjaxError(f"{source} is in {target}, which would be replaced: give another copy")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(root / ".lock", f"another 'storyjax models get' writes into {root}: wait for it"):
            notes = _write(role, target, planned, read, origin, dtype, progress)
    except OSError as error:
        raise StoryjaxError(f"{root} cannot be written ({error.strerror or error}): give another --models") from error
    if not role.ready:
        notes = (*notes, f"{' and '.join(role.commands)} cannot use it yet: it is for training")
    return Got(target, f"{role.name}: {name} in {target}", notes)


def _already_there(role: Role, target: Path, model: str | None, source: str | None, replace: bool) -> Got | None:
    """What is in the way: a model that is the one asked for is the answer; None where there is nothing, or what
    storyjax put there may be replaced."""
    if not target.exists() and not target.is_symlink():
        return None
    ours = (target / RECORD).exists()
    if replace and ours and not target.is_symlink():
        return None
    if not ours or target.is_symlink():
        if target.is_dir() and not target.is_symlink() and not any(target.iterdir()):
            return None
        raise StoryjaxError(f"{target} was not made by 'storyjax models get': move it away, or use it as it is")
    record = read_record(target) or {}
    if source is not None or model not in (None, record.get("model")):
        raise StoryjaxError(f"{target} holds {record.get('model')}: --replace takes another in its place")
    return Got(target, f"{role.name}: {record.get('model')} is in {target} already; --replace fetches it again")


def _downloaded(role: Role, model: str | None) -> tuple[str, Path, dict[str, str]]:
    """The model's name, where it was downloaded to, and where from."""
    named = {one.name: one for one in role.models}
    if model in role.families:
        raise StoryjaxError(f"'{model}' is of any size: give its folder with --from")
    wanted = named[model] if model else role.models[0]
    if not wanted.repository:
        accept = ", after accepting its terms there" if wanted.accept else ""
        raise StoryjaxError(
            f"{wanted.name} is not on the Hugging Face hub: download {wanted.files[-1]} by hand from {wanted.page}"
            f"{accept}, then 'storyjax models get {role.name} --model {wanted.name} --from FILE'"
        )
    try:
        folder = fetch(wanted.repository, wanted.files) if wanted.files else locate(wanted.repository)
    except HubError as error:
        raise StoryjaxError(
            f"{wanted.repository} cannot be fetched ({error.reason}); the same command goes on where it stopped, or"
            f" download {', '.join(wanted.files) or 'its files'} from https://huggingface.co/{wanted.repository}/tree/main"
            f" into a folder, then 'storyjax models get {role.name} --from FOLDER'"
        ) from error
    place = folder if role.as_published or not wanted.files else folder / wanted.files[-1]
    if not place.exists():
        raise StoryjaxError(
            f"{place.name} is not in what was fetched of {wanted.repository}: give its folder with --from"
        )
    return wanted.name, place, {"from": wanted.repository, "revision": folder.name}


def _local(role: Role, source: str, model: str | None, by_name: bool) -> tuple[str, Path, dict[str, str]]:
    """The model's name and its file or folder in what a person gave, and where from."""
    given = Path(source).expanduser()
    if not given.exists():
        raise StoryjaxError(f"{given} is not there: give a folder or a file as it was published")
    models = [one for one in role.models if model in (None, one.name)]
    families = [family for family in role.families if model in (None, family)]
    places = _places(role, given, models, families, by_name)
    if not places:
        wanted = " or ".join(_wanted(one) for one in models) or "config.json and weights"
        raise StoryjaxError(f"no weights of the role '{role.name}' in {given}: put there {wanted}")
    for _, place in places:
        if partial := partial_files(place if place.is_dir() else place.parent):
            raise StoryjaxError(f"{partial[0]} is half-downloaded: let the download end, or remove that file")
    name, place = places[0] if role.as_published else _fitting(places)
    return name, place, {"from": str(place.absolute())}


def _wanted(model: Model) -> str:
    """What of a model a folder should have, in words."""
    names = ", ".join(model.files) or "config.json, model*.safetensors and the tokenizer's files"
    return f"{names} of {model.repository or model.page} ({model.name})"


def _places(
    role: Role, given: Path, models: Sequence[Model], families: Sequence[str], by_name: bool
) -> list[tuple[str, Path]]:
    """(name, file or folder) of what may be the models in a folder, by the names that files and folders have there."""
    found: list[tuple[str, Path]] = []
    for one in models if given.is_dir() else ():
        owner, repository = one.repository.replace("/", "--"), one.repository.partition("/")[2]
        folders = [given / name for name in (one.name, repository) if name]
        folders += sorted(given.glob(f"models--{owner}/snapshots/*")) if owner else []  # the hub's own cache
        if one.files and not role.as_published:
            folders = [folder / one.files[-1] for folder in (*folders, given)]
        found += [(one.name, place) for place in folders if place.exists()]
    if found:
        return found
    names = [*(one.name for one in models), *families]
    if role.as_published:  # nothing in the files says which of them it is
        names.sort(key=lambda name: name not in families)
    folders = [given / role.name] if by_name else [given / role.name, given]
    place = next((place for place in folders if place.is_file() or has_weights(place)), None)
    return [(name, place) for name in names] if place else []


def _fitting(places: Sequence[tuple[str, Path]]) -> tuple[str, Path]:
    """The first of them that is what its name says, by the files' headers."""
    errors: dict[str, StoryjaxError] = {}
    for name, place in places:
        try:
            plan_import(name, [str(place)])
        except StoryjaxError as error:
            errors[name] = error
        else:
            return name, place
    raise _most_telling(errors, places[0][1])


def _most_telling(errors: Mapping[str, StoryjaxError], place: Path) -> StoryjaxError:
    """The error of the family that the checkpoint's config.json names, which takes any size; else the first."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        folder = place if place.is_dir() else place.parent
        kind = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
        for name, error in errors.items():
            if PUBLISHED[name].config is None and kind in PUBLISHED[name].family.model_types:
                return error
    first, *others = errors
    differ = len({str(error) for error in errors.values()}) > 1
    return StoryjaxError(f"{errors[first]}; nor is it {' or '.join(others)}" if differ else str(errors[first]))


def _write(
    role: Role,
    target: Path,
    planned: Import | str,
    read: Sequence[Path],
    origin: dict[str, str],
    dtype: str | None,
    progress: bool,
) -> tuple[str, ...]:
    """Writes the model and its record beside the role's folder, and then in its place; returns notes."""
    staging = target.with_name(f".{target.name}.new")
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    with new_folder(staging) as folder:
        fetched = _hashes(read, progress, f"checking {role.name}")
        check_hub_hashes({path: entry["sha256"] for path, entry in fetched.items()})
        if isinstance(planned, str):
            name, layout, notes = planned, "CTranslate2", copy_whisper(read, folder)
        else:
            imported = write_import(planned, folder, dtype, progress)
            name, layout, notes = planned.name, imported.layout, imported.notes
        written = _hashes(sorted(folder.iterdir()), progress, f"hashing {role.name}")
        record = {
            **{"role": role.name, "model": name, "layout": layout, "made_by": f"storyjax {storyjax.__version__}"},
            **origin,
            "fetched": {path.name: entry for path, entry in fetched.items()},
            "files": {path.name: entry for path, entry in written.items()},
        }
        write_atomically(folder / RECORD, json_text(record, indent=2) + "\n", durable=True)
    _put(staging, target)
    return notes


def _put(staging: Path, target: Path) -> None:
    """Puts a folder in the place of another, which is removed once the new one is there."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    staging.rename(target)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _bar(files: Sequence[Path], progress: bool, what: str) -> Iterator[Callable[[int], object]]:
    total = sum(file.stat().st_size for file in files)
    with tqdm(total=total, unit="B", unit_scale=True, desc=what, delay=1, disable=None if progress else True) as bar:
        yield bar.update


def _hashes(files: Sequence[Path], progress: bool, what: str) -> dict[Path, dict[str, Any]]:
    """The SHA-256 and the size of each file."""
    with _bar(files, progress, what) as update:
        return {file: {"sha256": sha256(file, update), "bytes": file.stat().st_size} for file in files}


def listing(models_dir: str | None = None, check: bool = False, progress: bool = True) -> list[dict[str, Any]]:
    """Returns, for each role, what is in the models folder and what its commands use.

    Args:
        models_dir: the models folder; None: see `roles.models_folder`.
        check: whether files are compared with the hashes that were recorded.
        progress: whether to show a bar on standard error.

    Returns:
        Objects with the keys role, commands, ready, uses ("imported", "own", "ships" or "none"), place, model, from,
        bytes and problem: "" or what is wrong with what is in the folder, in one line.
    """
    return [_entry(role, models_dir, check, progress) for role in ROLES.values()]


def _entry(role: Role, models_dir: str | None, check: bool, progress: bool) -> dict[str, Any]:
    there, record, problem = None, None, ""
    try:
        there = in_folder(role, models_dir)
        record = read_record(Path(there.place)) if there else None
    except StoryjaxError as error:
        problem = str(error)
    if not role.ready:
        used = Choice(role, role.ships, "ships")
    elif problem:
        used = Choice(role, "", "none")  # the commands refuse it as well
    else:
        used = model_for(role.name, models_dir)
    if there is not None and record is not None and check:
        problem = _difference(Path(there.place), record["files"], progress)
    return {
        "role": role.name,
        "commands": list(role.commands),
        "ready": role.ready,
        "uses": used.origin,
        "place": used.place,
        "there": there.origin if there else "",
        "model": there.model if there else "",
        "from": (record or {}).get("from", ""),
        "bytes": sum(entry.get("bytes", 0) for entry in (record or {}).get("files", {}).values()),
        "problem": problem,
    }


def _difference(folder: Path, recorded: dict[str, dict[str, Any]], progress: bool) -> str:
    """How a folder, whose files are of the recorded sizes, differs from its record; "" if it does not."""
    found = _hashes([folder / name for name in recorded], progress, f"checking {folder.name}")
    for file, entry in found.items():
        if entry["sha256"] != recorded[file.name].get("sha256"):
            return (
                f"{file} has another SHA-256 than when it was fetched: 'storyjax models get {folder.name} --replace'"
                " fetches it again"
            )
    return ""
