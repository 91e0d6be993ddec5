"""What each command needs, which published models serve it, and where a command finds them: `storyjax models`.

A role is one thing that a command needs: who reads a question, who tells voices apart. The models that serve a role are
names of the registry (registry.py), or, where another program runs them, a repository that is kept as it is published.
They lie in one folder, the models folder, each in a folder of its role's name; `model_for` says what a command uses.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storyjax.core.errors import StoryjaxError, nearest
from storyjax.core.notes import tell
from storyjax.core.params_io import SHIPPED
from storyjax.weights.source_files import has_weights

MODELS = "STORYJAX_MODELS"  # the models folder, or "off"
OFF = "off"
RECORD = "source.json"  # beside imported weights: what they are, and the hashes of their files


@dataclass(frozen=True)
class Model:
    """A published model that serves a role.

    Attributes:
        name: in the registry; of a role that is kept as published, a name of its own.
        gigabytes: its size on disk, as published.
        licence: the publisher's, as its page says; or what there is to accept.
        repository: on the Hugging Face hub; "" where it is not on the hub.
        files: those of the repository or the page that are needed; none stand for the transformers layout.
        page: where it is downloaded by hand.
        accept: whether terms must be accepted on that page.
    """

    name: str
    gigabytes: float
    licence: str
    repository: str = ""
    files: tuple[str, ...] = ()
    page: str = ""
    accept: bool = False

    def place(self) -> str:
        """Returns where it comes from, for people: repository or page, and file."""
        return ": ".join(filter(None, [self.repository or self.page, self.files[-1] if self.files else ""]))

    def size(self) -> str:
        """Returns its size for people."""
        return f"{self.gigabytes:.1f} GB" if self.gigabytes >= 1 else f"{max(1, round(self.gigabytes * 1000))} MB"


@dataclass(frozen=True)
class Role:
    """One thing that commands need.

    Attributes:
        name: of the role, and of its folder in the models folder.
        commands: that need it.
        what: it does.
        models: that serve it, the one that is taken if none is named first.
        families: names that stand for any size, for weights that are given with --from.
        ships: the place of the weights that come with storyjax, which know StoryWorld alone; "" if none do.
        ready: whether the commands can use published weights; otherwise training alone does.
        waiting: those of `commands` that cannot use published weights, although the role is ready.
        as_published: whether the files are kept as they are, because another program reads them.
    """

    name: str
    commands: tuple[str, ...]
    what: str
    models: tuple[Model, ...]
    families: tuple[str, ...] = ()
    ships: str = ""
    ready: bool = False
    waiting: tuple[str, ...] = ()
    as_published: bool = False

    def serves(self, command: str | None) -> bool:
        """Returns whether a command (None: any) can use published weights of this role."""
        return self.ready and command not in self.waiting


_CLIP, _DETR, _WHISPER = "openai/clip-vit-", "SenseTime/deformable-detr", "Systran/faster-whisper-"
_LAUGHTER = "https://github.com/jrgillick/laughter-detection"
_WHISPER_FILES = ("config.json", "preprocessor_config.json", "tokenizer.json", "vocabulary.*", "model.bin")
ROLES = {
    role.name: role
    for role in (
        Role(
            "ask",
            ("ask",),
            "sees videos and answers questions about them (BLIP-2)",
            (
                Model("blip2-flan-t5-xl", 15.8, "MIT", "Salesforce/blip2-flan-t5-xl"),
                Model("blip2-flan-t5-xxl", 48.9, "MIT", "Salesforce/blip2-flan-t5-xxl"),
            ),
            ("blip2",),
            "shipped:tcr_nextqa_storyworld",
            ready=True,
        ),
        Role(
            "track",
            ("track", "story"),
            "detects objects (Deformable DETR)",
            (
                Model("deformable-detr-r50-two-stage", 0.165, "Apache-2.0", f"{_DETR}-with-box-refine-two-stage"),
                Model("deformable-detr-r50-refine", 0.164, "Apache-2.0", f"{_DETR}-with-box-refine"),
                Model("deformable-detr-r50", 0.161, "Apache-2.0", _DETR),
            ),
            ("deformable-detr",),
            "shipped:mqt_storyworld",
            ready=True,
        ),
        Role(
            "find",
            ("find", "story"),
            "embeds images and sentences (CLIP, SigLIP)",
            (
                Model("clip-vit-b-16", 0.599, "MIT", f"{_CLIP}base-patch16"),
                Model("clip-vit-b-32", 0.605, "MIT", f"{_CLIP}base-patch32"),
                Model("clip-vit-l-14", 1.71, "MIT", f"{_CLIP}large-patch14"),
                Model("clip-vit-h-14", 3.94, "MIT", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
                Model("siglip-so400m-14", 3.51, "Apache-2.0", "google/siglip-so400m-patch14-384"),
            ),
            ("clip", "siglip"),
            "shipped:clip_pad_storyworld",
            ready=True,
        ),
        Role(
            "faces",
            ("find", "subtitle", "story"),
            "tells faces apart (SE-ResNet-50 of VGGFace2)",
            (
                Model(
                    *("senet50-128", 0.105, "VGGFace2's terms"),
                    files=("senet50_128.pth",),
                    page="https://www.robots.ox.ac.uk/~vgg/data/vgg_face2",
                    accept=True,
                ),
            ),
            ships="shipped:clip_pad_storyworld",
            ready=True,
            waiting=("subtitle",),  # it recognises faces by a trained CLIP-PAD
        ),
        Role(
            "speech",
            ("subtitle", "story"),
            "writes down what is said (Whisper, as CTranslate2 runs it)",
            (
                Model("whisper-small", 0.486, "MIT", f"{_WHISPER}small", _WHISPER_FILES),
                Model("whisper-small.en", 0.486, "MIT", f"{_WHISPER}small.en", _WHISPER_FILES),
                Model("whisper-tiny.en", 0.078, "MIT", f"{_WHISPER}tiny.en", _WHISPER_FILES),
                Model("whisper-medium", 1.53, "MIT", f"{_WHISPER}medium", _WHISPER_FILES),
                Model("whisper-medium.en", 1.53, "MIT", f"{_WHISPER}medium.en", _WHISPER_FILES),
                Model("whisper-large-v3", 3.09, "MIT", f"{_WHISPER}large-v3", _WHISPER_FILES),
            ),
            ("whisper",),
            ready=True,
            as_published=True,
        ),
        Role(
            "voices",
            ("subtitle", "story"),
            "tells voices apart (ECAPA-TDNN, CAM++)",
            (
                Model("ecapa", 0.083, "Apache-2.0", "speechbrain/spkrec-ecapa-voxceleb", ("embedding_model.ckpt",)),
                Model(
                    *("campplus", 0.028, "Apache-2.0"),
                    files=("campplus_cn_en_common.pt",),
                    page="https://modelscope.cn/models/iic/speech_campplus_sv_zh_en_16k-common_advanced",
                ),
            ),
            ships="shipped:storyworld_voices",
            ready=True,
        ),
        Role(
            "sync",
            ("subtitle", "story"),
            "finds the mouth that moves with the sound (LWTNet)",
            (
                Model(
                    *("lwtnet", 0.044, "MIT"),
                    files=("avobjects_loc_sep.pt",),
                    page="https://github.com/afourast/avobjects",
                ),
            ),
            ships="shipped:storyworld_sync",
            ready=True,
        ),
        Role(
            "laughter",
            ("subtitle",),
            "hears laughter (ResNet)",
            (
                Model("laughter", 0.003, "MIT", files=("best.pth.tar",), page=_LAUGHTER),
                Model("laughter-base", 0.001, "MIT", files=("best.pth.tar",), page=_LAUGHTER),
            ),
            ships="shipped:storyworld_laughter",
            ready=True,
        ),
    )
}
COMMANDS = tuple(dict.fromkeys(command for role in ROLES.values() for command in role.commands))


def roles_of(names: Sequence[str]) -> list[Role]:
    """Returns the roles of these names, in their order and each once; a command's name that is no role's stands for
    all that it needs.

    Raises:
        StoryjaxError: an unknown name.
    """
    found: dict[str, Role] = {}
    for name in names:
        if name not in ROLES and name not in COMMANDS:
            known = list(dict.fromkeys([*ROLES, *COMMANDS]))
            raise StoryjaxError(f"there is no role '{name}'.{nearest(name, known)} Known: {', '.join(known)}")
        needed = [ROLES[name]] if name in ROLES else [role for role in ROLES.values() if name in role.commands]
        found |= {role.name: role for role in needed}
    return list(found.values())


def models_folder(given: str | os.PathLike[str] | None = None) -> Path | None:
    """Returns the models folder: `given`, else $STORYJAX_MODELS, else a folder among the user's data; None where it is
    "off". It need not be there."""
    chosen = os.fspath(given) if given else os.environ.get(MODELS, "")
    if chosen.lower() == OFF:
        return None
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        home = Path("~/Library/Application Support")
    elif sys.platform == "win32":
        home = Path(os.environ.get("LOCALAPPDATA") or "~/AppData/Local")
    else:
        home = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share")
    return home.expanduser() / "storyjax" / "models"


def read_record(folder: Path) -> dict[str, Any] | None:
    """Returns the record that `storyjax models get` left in a folder; None where there is none.

    Raises:
        StoryjaxError: it cannot be read.
    """
    path = folder / RECORD
    try:
        stored = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoryjaxError(f"{path} cannot be read ({error}): get the model again with --replace") from error
    if not isinstance(stored, dict) or not isinstance(stored.get("files"), dict):
        raise StoryjaxError(f"{path} is no record of a model: get the model again with --replace")
    return stored


def size_difference(folder: Path, recorded: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns which file of a folder is missing or of another size than its record says, in a line; "" if none is."""
    for name, entry in recorded.items():
        file = folder / name
        size = file.stat().st_size if file.is_file() else None
        if size != entry.get("bytes"):
            what = "is missing" if size is None else f"has {size:,} bytes, not {entry.get('bytes'):,}"
            return f"{file} {what}: 'storyjax models get {folder.name} --replace' fetches it again"
    return ""


@dataclass(frozen=True)
class Choice:
    """What a command uses for a role.

    Attributes:
        role: it is for.
        place: of the weights: a folder, or "shipped:NAME"; "" where nothing is there and nothing ships.
        origin: "imported" (by `storyjax models get`), "own" (a folder that somebody put there), "ships" or "none".
        model: the name of what was imported; "" otherwise.
    """

    role: Role
    place: str
    origin: str
    model: str = ""


def model_for(role: str, models_dir: str | os.PathLike[str] | None = None, command: str | None = None) -> Choice:
    """Returns the weights that a command uses for a role: those in the models folder, else what ships.

    A role whose commands cannot use published weights gets what ships, whatever is in the folder.

    Args:
        role: its name.
        models_dir: the models folder; None: see `models_folder`.
        command: that uses them; None: any that can.

    Raises:
        StoryjaxError: an unknown role, or a folder of the role that cannot be used.
    """
    asked = ROLES[role] if role in ROLES else roles_of([role])[0]
    there = in_folder(asked, models_dir) if asked.serves(command) else None
    if there is not None:
        return there
    return Choice(asked, asked.ships, "ships" if asked.ships else "none")


def in_folder(role: Role, models_dir: str | os.PathLike[str] | None = None) -> Choice | None:
    """Returns the weights of a role in the models folder, whether its commands can use them or not; None without any.

    Raises:
        StoryjaxError: the folder of the role cannot be read, has no weights, or not those that were put there.
    """
    root = models_folder(models_dir)
    folder = None if root is None else root / role.name
    try:
        if folder is None or not folder.exists():
            return None
        filled = folder.is_dir() and (has_weights(folder) or (folder / "checkpoints").is_dir())
        described = (folder / "config.json").is_file()
    except OSError as error:
        raise StoryjaxError(f"{folder} cannot be read ({error.strerror}): check its permissions") from error
    if not filled:
        raise StoryjaxError(
            f"{folder} is for the weights of the role '{role.name}' and has none: remove it, then 'storyjax models get"
            f" {role.name}'"
        )
    if not described:
        raise StoryjaxError(
            f"{folder} has no config.json: move what was downloaded elsewhere, then 'storyjax models get {role.name}"
            " --from FOLDER' imports it"
        )
    record = read_record(folder)
    known = [*(model.name for model in role.models), *role.families]
    if record is not None and record.get("model") not in known:
        raise StoryjaxError(
            f"{folder} holds the model '{record.get('model')}', which does not serve the role '{role.name}' (that is"
            f" {', '.join(known)}): 'storyjax models get {role.name} --replace'"
        )
    if record is not None and (problem := size_difference(folder, record["files"])):
        raise StoryjaxError(problem)
    return Choice(role, str(folder), "own" if record is None else "imported", str((record or {}).get("model", "")))


def used_line(command: str, choices: Sequence[Choice]) -> str:
    """Returns the line about what a command uses, for standard error; "" where there is nothing to tell.

    What ships knows StoryWorld alone, and the line says so.
    """
    parts = [
        f"{choice.role.name} from {choice.place} ({choice.model or 'your own'})"
        for choice in choices
        if choice.origin in ("imported", "own")
    ]
    said = [f"uses {', '.join(parts)}"] if parts else []
    if shipped := [choice.role for choice in choices if choice.origin == "ships"]:
        names = "" if len(shipped) == 1 and shipped[0].name == command else f" for {_listed(shipped)}"
        said.append(f"uses the weights that ship{names}, which know StoryWorld's synthetic world only")
        if ready := [role.name for role in shipped if role.serves(command)]:
            said.append(f"`storyjax models get {' '.join(ready)}` brings published ones")
    return f"{command}: {'; '.join(said)}" if said else ""


def tell_shipped(command: str, checkpoint: str | os.PathLike[str] | None) -> None:
    """Tells a person that a command uses what ships, where its --checkpoint does not name anything else."""
    if checkpoint is not None and not os.fspath(checkpoint).startswith(SHIPPED):
        return
    line = used_line(command, [Choice(ROLES[command], ROLES[command].ships, "ships")])
    tell(line if ROLES[command].ready else f"{line}; --checkpoint RUN takes a model that you trained")


def _listed(roles: Sequence[Role]) -> str:
    names = [role.name for role in roles]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def table() -> list[tuple[str, str, str, str, str, str]]:
    """Returns the rows of the table of roles: role, command, model, size, licence, where it comes from."""
    return [
        (role.name, ", ".join(role.commands), model.name, model.size(), model.licence, model.place())
        for role in ROLES.values()
        for model in role.models
    ]
