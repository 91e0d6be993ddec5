"""`storyjax plan`: what the TPU's compiler says of a run, on a machine without a TPU."""

import dataclasses
import importlib.util
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh
from ml_collections import ConfigDict
from tiny_tcr import write_checkpoint

from storyjax.cli.main import run
from storyjax.core.config import load_config
from storyjax.core.errors import StoryjaxError
from storyjax.models.deformable_detr import Decoder
from storyjax.mqt.config import make_model
from storyjax.nn.deformable_layers import Pyramid
from storyjax.plan import full_size
from storyjax.plan.compile import Plan, Planner, Report, _overrun, counted, most_frames, parse_mesh
from storyjax.plan.full_size import full_size_variants
from storyjax.plan.programs import Lowered
from storyjax.plan.report import table, to_json
from storyjax.plan.tpu import CHIPS, Slice, find_slice
from storyjax.plan.utilisation import peak_flops

needs_compiler = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
SLICE = Slice("v5e:2x2", CHIPS["v5e"], [None] * 4, 4, "0.0")
LIMIT = 16.0 * 2**30


def report(used: float, fits: bool, program: str = "train") -> Report:
    counts = {"flops": 4e12, "bytes": 1e10} if fits else {"flops": None, "bytes": None}
    return Report(program, fits, LIMIT, used, 2**30, 2**20, 2**29, used - 2**30 - 2**20, seconds=1.0, **counts)


class Linear(Planner):
    """A planner whose memory grows with frames along a line, or as `memory` says."""

    frames, unit = 92, 8

    def __init__(self, limit: float, memory=lambda frames: 2.0 * frames):
        self.limit, self.memory, self.compiled = limit, memory, []

    def plan(self, frames, say):
        self.compiled.append(frames)
        used = LIMIT * self.memory(frames) / self.limit
        return Plan(SLICE, {"data": 1, "fsdp": 1, "seq": 4}, frames, 1, (report(used, used <= LIMIT),))


@pytest.mark.parametrize(
    ("limit", "memory"),
    [
        (20_000, lambda frames: 2.0 * frames),
        (2_000_000, lambda frames: 5_000 + 2.0 * frames),
        (20_000, lambda frames: 2.0 * frames + 5_000 * (frames > 6_000)),  # a jump that no line foresees
        (20_000, lambda frames: 2.0 * frames if frames < 8_000 else math.inf),  # a refusal that does not say how much
        (90, lambda frames: 2.0 * frames),  # fewer than the config's
    ],
)
def test_a_search_finds_the_most_frames_in_few_compilations(limit, memory):
    planner = Linear(limit, memory)
    plan = most_frames(planner, lambda line: None)
    assert plan.fits
    assert plan.frames % planner.unit == 0
    assert memory(plan.frames) <= limit < memory(plan.frames + max(planner.unit, 0.021 * plan.frames))
    assert len(planner.compiled) == len(set(planner.compiled)) <= 10
    assert [frames for frames, _ in plan.tried] == planner.compiled


def test_a_search_where_nothing_fits_says_so():
    plan = most_frames(Linear(1), lambda line: None)
    assert not plan.fits
    assert plan.frames == 8
    assert "none of those tried" in table(plan)


def test_a_plan_that_does_not_fit_says_what_to_change():
    reports = (report(LIMIT / 2, True), report(2.0 * LIMIT, False, "inference"))
    plan = Plan(SLICE, {"data": 4, "fsdp": 1, "seq": 1}, 92, 16, reports)
    text = table(plan)
    assert "inference needs 32.00 GiB of 16.00 GiB" in text
    assert "--batch 4" in text
    assert "--mesh seq=4" in text
    assert to_json(plan)["fits"] is False
    assert json.loads(json.dumps(to_json(plan)))["programs"][0]["flops_per_byte"] == 400
    assert "--batch" not in table(Plan(SLICE, plan.mesh, 92, 16, reports[:1]))


def test_the_compilers_refusal_is_read():
    message = "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory. Used 20.31G of 15.75G hbm."
    assert _overrun(message) == (20.31 * 2**30, 15.75 * 2**30)
    assert _overrun("RESOURCE_EXHAUSTED: something else") == (math.inf, None)
    with pytest.raises(StoryjaxError, match="INTERNAL: odd"):
        _overrun("INTERNAL: odd")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--topology=v5e:3x5"], "v5e has no slice '3x5'.*v5e:2x2, v5e:2x4"),
        (["--topology=v9:2x2"], "no TPU 'v9'.*v5e:1x1.*tpu7x:2x2x1"),
        (["--topology=v5e:2x2", "--frames", "0"], "--frames is 0"),
        (["--topology=v5e:2x2", "--frames", "8", "--max-frames"], "not allowed with"),
        (["--topology=v5e:2x2", "--config.optim.nothing=1"], "config.optim has no key 'nothing'"),
        (["--topology=v5e:2x2", "--confg.seed=1"], "unknown --confg.seed=1"),
        (["--topology=v5e:2x2", "--mesh", "rows=2"], "--mesh: unknown 'rows'"),
        (["--topology=v5e:2x2", "--mesh", "data=two"], "'data=two' does not say how many"),
        (["--topology=v5e:2x2", "--mesh", "data=3"], "does not lay out 4 device"),
        (["--topology=v5e:2x2", "--mesh", "seq=4", "--frames", "90"], "90 frames cannot be cut over 4 devices"),
        (["--topology=v5e:2x2", "--batch", "2"], "must be a multiple of 4.*--mesh data=2,seq=2"),
    ],
)
def test_slips_are_told_in_one_line(arguments, said, capsys, monkeypatch):
    monkeypatch.setattr(
        "storyjax.plan.compile.find_slice", lambda name: SLICE if name == SLICE.name else find_slice(name)
    )
    monkeypatch.setattr("storyjax.plan.compile.Mesh", lambda devices, axes: AbstractMesh(devices.shape, axes))
    config = Path(__file__).parents[1] / "configs" / "tcr_nextqa.py"
    assert run(["plan", f"--config={config}", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    # What was begun is told before what stopped it.
    assert len([line for line in captured.err.splitlines() if not line.startswith("compiling")]) == 1
    assert re.search(said, captured.err), captured.err


def test_without_the_compiler_one_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StoryjaxError, match=r"storyjax\[plan\]"):
        find_slice("v5e:1x1")


def test_meshes():
    assert parse_mesh("seq=4, fsdp=2") == {"data": -1, "fsdp": 2, "seq": 4}
    assert parse_mesh(None) == {}


@needs_compiler
def test_every_slice_that_is_listed_is_one(capfd):
    for name in ("v4:2x2x1", "v5e:1x1", "v5e:2x4", "v5p:2x2x2", "v6e:4x4", "tpu7x:2x2x1"):
        found = find_slice(name)
        assert len(found.devices) == found.chips * (2 if name.startswith("tpu7x") else 1)
        peak = peak_flops(found.devices[0].device_kind)  # the name that a real device has, too
        assert peak == found.chip.peak_flops / found.devices_per_chip


@needs_compiler
def test_a_small_run_is_planned_by_the_tpus_compiler(tmp_path, capsys):
    """Both programs of a tiny TCR over four chips, two videos and two parts of each."""
    write_checkpoint(tmp_path)
    (tmp_path / "config.py").write_text(
        "import json\nimport pathlib\nfrom ml_collections import ConfigDict\n"
        "def get_config():\n"
        f"    text = pathlib.Path({str(tmp_path / 'tcr' / 'config.json')!r}).read_text()\n"
        "    config = ConfigDict(json.loads(text))\n"
        "    config.model.streaming = {'chunk_frames': 4}\n"
        "    nextqa = config.data.tasks.nextqa\n"
        "    nextqa.eval_splits, nextqa.prompt_length = ('val',), 8\n"
        "    nextqa.examples_per_video = nextqa.eval_examples = 1\n"
        "    config.train = {'steps': 1, 'batch_size': 2}\n"
        "    return config\n"
    )
    command = ["plan", f"--config={tmp_path / 'config.py'}", "--topology=v5e:2x2", "--mesh", "data=2,seq=2", "--json"]
    assert run([*command, "--frames", "64"]) == 0
    plan = json.loads(capsys.readouterr().out)
    train, inference = plan["programs"]
    assert (plan["fits"], plan["mesh"]) == (True, {"data": 2, "fsdp": 1, "seq": 2})
    # A video of 64 frames of 16x16 pixels: half of it on each chip.
    assert 32 * 16 * 16 * 3 <= train["batch"] <= 32 * 16 * 16 * 3 * 1.2
    # Patches of 8 pixels make 5 tokens a frame, 3 of every other one; of width 16 and four bytes.
    assert (train["features"], inference["features"]) == (16 * (5 + 3) * 64, 32 * 5 * 64)
    for program in plan["programs"]:
        assert program["weights"] + program["batch"] <= program["used"] <= program["limit"]
        # The tower alone takes 12 products of 16 squared for a token; a chunk's worth would be an eighth of this.
        assert program["flops"] > 32 * 5 * 2 * 12 * 16**2
        assert program["bytes"] > program["weights"]


class Unreadable:
    """A program that jaxlib cannot tell as text, as it happens with those of a newer libtpu."""

    def as_text(self) -> str:
        raise jax.errors.JaxRuntimeError("INTERNAL: RET_CHECK failure: async-update instruction should have 1 operands")


def test_a_program_that_cannot_be_read_is_planned_without_its_flops():
    assert counted(Unreadable()) == (None, None, None)
    program = jax.jit(lambda x: x @ x).lower(jax.ShapeDtypeStruct((8, 8), "float32")).compile()
    assert counted(program)[0] == 2 * 8**3


def test_configs_name_slices_for_their_variants_of_full_size():
    """Every paper variant has one, in its file and in its docstring; what is not of full size has none."""
    named = dict(full_size_variants("*", None))
    configs = {path.stem for path in (Path(__file__).parents[1] / "configs").glob("*.py")}
    small = {name for name in configs if name.startswith("storyworld_")} | {"tcr_storyworld_init", "mqt_series"}
    assert {spec.partition(":")[0] for spec in named} == configs - small
    for spec, topology in named.items():
        name, _, variant = spec.partition(":")
        assert "embedded" not in variant
        assert variant != "storyworld"
        generation, _, shape = topology.partition(":")
        assert shape in CHIPS[generation].slices, spec
        assert topology in (Path(__file__).parents[1] / "configs" / f"{name}.py").read_text().split('"""')[1], spec
    assert full_size_variants("mqt_coco:pairs", "v5e:4x4") == [("mqt_coco:pairs", "v5e:4x4")]
    with pytest.raises(StoryjaxError, match="--only=nothing"):
        full_size_variants("nothing", None)


@pytest.fixture
def two_configs(tmp_path, monkeypatch):
    """A config of two programs, of which the second does not fit, and one that only the host evaluates."""
    programs = {"one:paper": ["train", "val"], "two:paper": ["tv (host)"]}
    compiled = []

    def compile_row(row, config, slice_, done):
        compiled.append((row.config, row.program))
        fields = dataclasses.asdict(report(LIMIT / 2, True) if row.program == "train" else report(math.inf, False))
        fields["used"] = None if fields["used"] == math.inf else fields["used"]
        return dataclasses.replace(row, report={**fields, "examples": 4}, mesh={"data": 4}, date="2026-11-29")

    monkeypatch.setattr(full_size, "full_size_variants", lambda only, topology: [(s, SLICE.name) for s in programs])
    monkeypatch.setattr(full_size, "find_slice", lambda name: SLICE)
    monkeypatch.setattr(full_size, "load_config", lambda spec: ConfigDict({"experiment": spec}))
    monkeypatch.setattr(full_size, "_programs", lambda config: programs[config.experiment])
    monkeypatch.setattr(full_size, "compile_row", compile_row)
    return compiled


def test_the_table_goes_on_where_it_was_stopped(two_configs, tmp_path):
    assert not full_size.plan_all(tmp_path, "*", None, lambda line: None)
    assert two_configs == [("one:paper", "train"), ("one:paper", "val")]
    page = (tmp_path / "full_size.md").read_text()
    assert "| one:paper | train | v5e:2x2 (data=4) | 4 | 8.0 of 16 | yes | 4.00 |" in page
    assert "| ? of 16 | **no** |" in page
    assert "no program of its own on the devices" in page
    lines = (tmp_path / "full_size.jsonl").read_text().splitlines()
    # Killed while it compiled the second program, which is tried again; a line that was cut off is not read.
    (tmp_path / "full_size.jsonl").write_text("\n".join([*lines[:3], lines[3][:40], lines[4]]))
    said = []
    assert not full_size.plan_all(tmp_path, "*", None, said.append)
    assert two_configs[2:] == [("one:paper", "val")]
    assert said[1] == "[2/3] one:paper on v5e:2x2: val"
    # Killed by it twice.
    (tmp_path / "full_size.jsonl").write_text("\n".join([*lines[:3], lines[2]]))
    assert not full_size.plan_all(tmp_path, "*", None, said.append)
    assert two_configs[3:] == []
    assert "the compiler died" in (tmp_path / "full_size.md").read_text()
    assert said[-2:] == ["[3/3] two:paper on v5e:2x2: tv", "    no program of its own on the devices"]


def test_a_program_that_was_compiled_already_is_not_compiled_again(monkeypatch):
    compiled = []

    class Planner:
        """Its program is what the config says, over one mesh."""

        def __init__(self, config, slice_, programs):
            self.config, self.mesh = config, SimpleNamespace(shape={"data": 4})

        def lower(self, program):
            return SimpleNamespace(digest=self.config.program)

        def compile(self, program, made):
            compiled.append(made.digest)
            return report(LIMIT / 2, True)

    monkeypatch.setattr(full_size, "Planner", Planner)
    done: list[full_size.Row] = []
    for spec, topology, program in (
        ("a", "x", "1"),
        ("b", "x", "1"),
        ("c", "x", "1"),
        ("d", "y", "1"),
        ("e", "x", "2"),
    ):
        row = full_size.Row(f"{spec}:paper", "train", topology, "")
        done.append(full_size.compile_row(row, ConfigDict({"program": program}), SLICE, done))
    assert compiled == ["1", "1", "2"]
    assert [row.same_as for row in done] == ["", "a:paper", "a:paper", "", ""]
    assert done[2].report == done[0].report
    page = full_size.table(done)
    assert "| c:paper | train | x (data=4) | 0 | 8.0 of 16 | yes | 4.00 |  | as a:paper |" in page


def test_the_digest_is_of_the_program_and_its_shapes():
    def digest(factor, rows):
        lowered = jax.jit(lambda x: factor * x).lower(jax.ShapeDtypeStruct((rows,), "float32"))
        return Lowered(lowered, 0, 0, 0, 1).digest

    assert digest(2, 8) == digest(2, 8)
    assert len({digest(2, 8), digest(3, 8), digest(2, 4)}) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--all", "--topology=v5e:3x5"], "v5e has no slice '3x5'"),
        (["--all", "--config=tcr_nextqa"], "not allowed with"),
        (["--all", "--frames=8"], "--all plans every config as it is: leave out --frames"),
        (["--all", "--only=mqt_motor"], "--only=mqt_motor: no config"),
        (["--config=storyworld_clip"], "storyworld_clip names no TPU slice of its own"),
    ],
)
def test_slips_with_the_whole_table_are_told_in_one_line(arguments, said, capsys, tmp_path):
    assert run(["plan", *arguments, *([f"--out={tmp_path}"] if "--all" in arguments else [])]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.search(said, captured.err), captured.err
    assert len(captured.err.splitlines()) == 1


@needs_compiler
def test_the_decoder_of_the_full_size_mqt_compiles_for_a_tpu():
    """Forward and backward, for frames of 800 x 1440: six layers as one loop take the room of a few."""
    config = load_config("mqt_mot17")
    model, _ = make_model(config.model, config.precision)
    decoder = Decoder(model.config.detr, model.dtype)
    height, width = config.data.size
    shapes = tuple((math.ceil(height / stride), math.ceil(width / stride)) for stride in (8, 16, 32, 64))
    tokens, queries, dim = sum(y * x for y, x in shapes), 250, model.config.detr.width

    def array(*shape, dtype=jnp.float32):
        return jax.ShapeDtypeStruct(shape, dtype)

    memory = array(1, tokens, dim, dtype=model.dtype)
    pyramid = Pyramid(memory, memory, array(1, tokens, dtype=bool), array(1, 4, 2), shapes)
    asked = [array(1, queries, dim), array(1, queries, dim), array(1, queries, 4), array(1, queries, dtype=bool)]

    def loss(params, *inputs):
        outputs = decoder.apply({"params": params}, *inputs)
        return (outputs.states.astype(jnp.float32) ** 2).sum() + (outputs.box_logits**2).sum()

    params = jax.eval_shape(decoder.init, jax.random.key(0), *asked, memory, pyramid)["params"]
    device = jax.sharding.SingleDeviceSharding(find_slice("v5e:1x1").devices[0])
    lowered = jax.jit(jax.grad(loss), in_shardings=device, out_shardings=device).lower(params, *asked, memory, pyramid)
    compiled = lowered.compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2**30
    assert counted(compiled)[0] > 0
