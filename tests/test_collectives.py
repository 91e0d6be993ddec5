"""Devices that share a batch keep their own examples: what compiled programs exchange on eight of them."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storyjax.plan.collectives import bytes_by_kind, collectives

ROOT = Path(__file__).parents[1]
long = pytest.mark.long
MOVES = ("all-gather", "all-to-all", "collective-permute", "reduce-scatter")


def on_eight_devices(which: str) -> dict[str, list[Any]]:
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "mqt")))
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths}
    command = [sys.executable, "tests/eight_devices.py", which]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def exchanged() -> dict[str, list[Any]]:
    return on_eight_devices("short")


@pytest.fixture(scope="module")
def exchanged_too() -> dict[str, list[Any]]:
    return on_eight_devices("long")


def largest(moved: list[Any], *kinds: str) -> int:
    """Elements of the largest array that a program sends by these kinds of collectives."""
    return max((math.prod(shape) for kind, shapes, *_ in moved if kind in kinds for shape in shapes), default=0)


def test_deformable_attention_exchanges_nothing(exchanged: dict[str, list[Any]]) -> None:
    """Neither values nor samples, forward or backward; that its numbers are those of one device, the script checks."""
    assert exchanged["deformable attention"] == []


def test_every_device_matches_its_own_examples(exchanged: dict[str, list[Any]]) -> None:
    assert exchanged["matching of queries"] == []
    # The mean's gradient is known without asking; no cost or loop crosses devices.
    assert exchanged["set loss"] == []


VISION_WIDTH, TCR_WIDTH, BATCH = 48, 32, 8  # of eight_devices.py
PARAMETERS = 4 * TCR_WIDTH**2  # of the largest, in the MLP


@pytest.mark.parametrize(("chunk", "fixture"), [(2, "exchanged"), pytest.param(0, "exchanged_too", marks=long)])
def test_stage_one_exchanges_embedded_tokens(chunk: int, fixture: str, request: pytest.FixtureRequest) -> None:
    """Negatives are other devices' videos; what travels is as wide as the TCR, and of a stream a chunk at a time."""
    moved = request.getfixturevalue(fixture)[f"stage (i), chunks of {chunk}"]
    tokens = [shapes for kind, shapes, *_ in moved if kind in MOVES for shape in shapes if shape[-1:] == [VISION_WIDTH]]
    assert not tokens
    gathered = [shape for kind, shapes, *_ in moved if kind in MOVES for shape in shapes if shape[-1:] == [TCR_WIDTH]]
    assert gathered  # the negatives
    if chunk:
        # Each part of a video: a whole frame of five tokens and a thinned one of three, of every video.
        assert max(map(math.prod, gathered)) == BATCH * (5 + 3) * TCR_WIDTH


def test_a_training_step_exchanges_gradients_and_what_parts_of_a_video_share(exchanged: dict[str, list[Any]]) -> None:
    moved = exchanged["training step"]
    assert not [one for one in moved if one[0] in MOVES]
    assert largest(moved, "all-reduce") == PARAMETERS


@long
def test_captions_are_written_where_the_video_is(exchanged_too: dict[str, list[Any]]) -> None:
    moved = exchanged_too["captions"]
    assert not [one for one in moved if one[0] in MOVES]
    # The parts of a video share each row's sums; all devices ask one another whether everything has been said.
    assert largest(moved, "all-reduce") <= BATCH * 12 * TCR_WIDTH


@long
def test_answers_are_scored_and_drawn_where_their_text_is(exchanged_too: dict[str, list[Any]]) -> None:
    assert exchanged_too["scored answers"] == []
    drawn = exchanged_too["drawn answers"]
    assert {one[0] for one in drawn} == {"all-reduce"}
    assert largest(drawn, "all-reduce") == 1  # whether all have ended


@long
def test_tracking_exchanges_gradients(exchanged_too: dict[str, list[Any]]) -> None:
    """The two images of a pair stay on the device that has them."""
    moved = exchanged_too["tracking"]
    assert not [one for one in moved if one[0] in MOVES and math.prod(one[1][0]) > BATCH * BATCH]


# A sum of 4 numbers, in a loop of 5; a gather of 2 to 8, inside a fusion; and an asynchronous one.
PROGRAM = """\
HloModule jit_f, is_scheduled=true

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %both = f32[] add(%a, %b)
}

%gathering (part: bf16[2]) -> bf16[8] {
  %part = bf16[2]{0} parameter(0)
  ROOT %all = bf16[8]{0} all-gather(%part), dimensions={0}, metadata={op_name="jit(f)/gather"}
}

%body (state: (s32[], f32[4])) -> (s32[], f32[4]) {
  %state = (s32[], f32[4]{0}) parameter(0)
  %count = s32[] get-tuple-element(%state), index=0
  %one = s32[] constant(1)
  %next = s32[] add(%count, %one)
  %held = f32[4]{0} get-tuple-element(%state), index=1
  %summed = f32[4]{0} all-reduce(%held), to_apply=%sum
  ROOT %new = (s32[], f32[4]{0}) tuple(%next, %summed)
}

%condition (state.1: (s32[], f32[4])) -> pred[] {
  %state.1 = (s32[], f32[4]{0}) parameter(0)
  %at = s32[] get-tuple-element(%state.1), index=0
  %end = s32[] constant(5)
  ROOT %less = pred[] compare(%at, %end), direction=LT
}

ENTRY %main (x: f32[4], y: bf16[2]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %y = bf16[2]{0} parameter(1)
  %zero = s32[] constant(0)
  %begin = (s32[], f32[4]{0}) tuple(%zero, %x)
  %loop = (s32[], f32[4]{0}) while(%begin), condition=%condition, body=%body
  %fused = bf16[8]{0} fusion(%y), kind=kCustom, calls=%gathering
  %start = (bf16[2]{0}, bf16[8]{0}) all-gather-start(%y), dimensions={0}
  %done = bf16[8]{0} all-gather-done(%start)
  ROOT %out = f32[4]{0} get-tuple-element(%loop), index=1
}
"""


def test_collectives_count_as_often_as_they_run() -> None:
    found = collectives(PROGRAM)
    assert [(one.kind, one.shapes, one.bytes, one.times) for one in found] == [
        ("all-reduce", ((4,),), 16, 5),
        ("all-gather", ((8,),), 16, 1),
        ("all-gather", ((8,),), 16, 1),
    ]
    assert "jit(f)/gather" in [one.source for one in found]
    assert bytes_by_kind(found) == {"all-gather": 32, "all-reduce": 80}
    assert all(one.counted for one in found)
    unknown = collectives(PROGRAM.replace("constant(5)", "parameter(1)"))
    assert [(one.times, one.counted) for one in unknown if one.kind == "all-reduce"] == [(1, False)]
