"""Time and memory of the TCR, compared with the module that it replaces.

    python tools/bench_tcr.py                                   # against the Q-Former of BLIP-2, in PyTorch, on the CPU
    python tools/bench_tcr.py --reference same                  # against a Q-Former of the TCR's own sizes
    python tools/bench_tcr.py --frames 4 92 --tcr queries=32    # other sizes of ours (storyjax.tcr.resampler.TcrConfig)
    python tools/bench_tcr.py --chunk 0                         # all frames at once, as short videos are trained
    python tools/bench_tcr.py --gpu                             # ViT-g and the TCR step on an accelerator, absolute

Both modules get the same visual tokens (t frames × n tokens of the vision encoder's width), float32, on the same cores,
in one process, in turns: other load on the machine slows down both. Ratios are ours / theirs, each the median over
    turns
of one run; below 1 is better. Memory (Linux) is the peak of a child process for each case, which does nothing else, in
one forward + backward: input, weights, gradients and activations, without the libraries.

The Q-Former has no text; the TCR's row has a task token and a prompt of 16 words besides its queries. The TCR streams
over chunks of frames as configs/tcr_nextqa.py has it (config.model.streaming).
"""

import argparse
import dataclasses
import functools
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

PROMPT = 16
LLM_WIDTH = 2048  # of Flan-T5-XL, the output width of our last linear layer
# Dense peaks without sparsity, in bfloat16 (float16 where a chip has none), FLOP/s; from the vendors' data sheets.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "V100": 125e12, "T4": 65e12}
PEAKS |= {"v6 lite": 918e12, "v5 lite": 197e12, "v5p": 459e12, "v5": 459e12, "v4": 275e12}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[4, 8, 23, 46, 92])
    parser.add_argument("--tokens", type=int, default=257, help="of a frame")
    parser.add_argument("--width", type=int, default=1408, help="of the vision encoder")
    parser.add_argument(
        "--tcr", nargs="*", default=[], metavar="KEY=VALUE", help="TcrConfig where it is not the paper's"
    )
    parser.add_argument("--reference", choices=("published", "same"), default="published")
    parser.add_argument("--chunk", type=int, default=16, help="frames of a chunk of ours; 0: all at once")
    parser.add_argument("--attention", choices=("sdpa", "eager"), default="sdpa", help="of the reference")
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-memory", action="store_true", help="leaves the memory out")
    parser.add_argument("--no-time", action="store_true", help="leaves the times out")
    parser.add_argument("--json", metavar="FILE", help="where to write the numbers")
    parser.add_argument("--gpu", action="store_true", help="measures on the accelerator instead, without a reference")
    parser.add_argument("--peak-tflops", type=float, help="of the accelerator in bfloat16, where it is not known here")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def tcr_config(arguments: argparse.Namespace) -> Any:
    """Returns the TCR's sizes, with a small embedding table: the reference has none, and a look-up costs nothing."""
    from storyjax.core.config import from_config
    from storyjax.tcr.resampler import TcrConfig

    changes = {key: json.loads(value) for key, _, value in (pair.partition("=") for pair in arguments.tcr)}
    return from_config(TcrConfig, {"vocab_size": 256, "llm_width": LLM_WIDTH, "drop_patches": 0.0, **changes}, "--tcr")


def qformer_sizes(arguments: argparse.Namespace) -> dict[str, int]:
    """Returns the sizes of BLIP-2's published Q-Former, or the TCR's own; both cross-attend in every other layer."""
    tcr = tcr_config(arguments)
    if arguments.reference == "published":
        return {"layers": 12, "width": 768, "heads": 12, "queries": 32}
    return {"layers": tcr.blocks, "width": tcr.width, "heads": tcr.heads, "queries": tcr.queries}


# By name, "forward" and "forward + backward"; each call waits for its result.
Passes = dict[str, Callable[[], Any]]


def ours(arguments: argparse.Namespace, frames: int, dtype: str = "float32", batch: int = 1) -> Passes:
    """The TCR over `frames` frames of each of `batch` videos, one question each."""
    import jax
    import jax.numpy as jnp

    from storyjax.models.t5 import T5, T5Config
    from storyjax.models.vit import ViT, ViTConfig
    from storyjax.tcr.frame_stream import Streaming
    from storyjax.tcr.interface import Prompt, Video
    from storyjax.tcr.model import VideoLanguageModel
    from storyjax.tcr.resampler import Tcr, TcrResampler

    config = tcr_config(arguments)
    # The towers are never run; the vision tower's width is what the resampler is made for.
    tower = ViTConfig(image_size=2, patch_size=2, width=arguments.width, depth=1, heads=1, mlp_width=2)
    reader = T5Config(vocab_size=2, d_model=LLM_WIDTH, d_kv=1, d_ff=1, num_heads=1, num_layers=1, num_decoder_layers=1)
    resampler = TcrResampler(Tcr(config, dtype=jnp.dtype(dtype)))
    model = VideoLanguageModel(ViT(tower), resampler, T5(reader), Streaming(arguments.chunk))
    params = jax.jit(lambda key: model.init(key)["tcr"])(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1))
    tokens = jax.random.normal(keys[0], (batch, frames, arguments.tokens, arguments.width), jnp.dtype(dtype))
    seconds = jnp.broadcast_to(jnp.arange(frames, dtype=jnp.float32)[None] / 2, (batch, frames))
    prompt = jax.random.randint(keys[1], (batch, 1, PROMPT), 0, config.vocab_size)

    def forward(params: Any, tokens: Any) -> Any:
        video = Video(seconds, jnp.ones((batch, frames), bool), tokens=tokens)
        asked = Prompt(jnp.zeros((batch, 1), jnp.int32), prompt, jnp.ones(prompt.shape, bool))
        return model.encode_video({"tcr": params}, video, asked, attention=False).queries

    def loss(params: Any, tokens: Any) -> Any:
        return jnp.mean(jnp.square(forward(params, tokens).astype(jnp.float32)))

    programs = {"forward": jax.jit(forward), "forward + backward": jax.jit(jax.value_and_grad(loss))}
    return {
        name: functools.partial(lambda program: jax.block_until_ready(program(params, tokens)), program)
        for name, program in programs.items()
    }


def theirs(arguments: argparse.Namespace, frames: int) -> Passes:
    """Returns the passes of the Q-Former of `transformers` over the same number of visual tokens."""
    import torch
    from transformers import Blip2QFormerConfig, Blip2QFormerModel

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    sizes = qformer_sizes(arguments)
    config = Blip2QFormerConfig(
        hidden_size=sizes["width"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        intermediate_size=4 * sizes["width"],
        encoder_hidden_size=arguments.width,
        cross_attention_frequency=2,
        attn_implementation=arguments.attention,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = Blip2QFormerModel(config)
    queries = torch.nn.Parameter(torch.randn(1, sizes["queries"], sizes["width"]))
    tokens = torch.randn(1, frames * arguments.tokens, arguments.width)

    def forward() -> None:
        with torch.no_grad():
            model(query_embeds=queries, encoder_hidden_states=tokens)

    def both() -> None:
        model.zero_grad(set_to_none=True)
        model(query_embeds=queries, encoder_hidden_states=tokens).last_hidden_state.square().mean().backward()

    return {"forward": forward, "forward + backward": both}


SIDES = {"ours": ours, "theirs": theirs}


def measure_times(arguments: argparse.Namespace, frames: int) -> dict[str, dict[str, float]]:
    """Returns {pass: {"ours", "theirs" (median seconds), "ratio" (median over turns of ours / theirs)}}."""
    sides = {name: make(arguments, frames) for name, make in SIDES.items()}
    results = {}
    for name in sides["ours"]:
        for side in sides.values():
            side[name]()  # compiles, or warms caches
        turns = []
        for turn in range(arguments.repeats):
            order = list(sides) if turn % 2 == 0 else list(reversed(sides))
            seconds = {}
            for side in order:
                began = time.perf_counter()
                sides[side][name]()
                seconds[side] = time.perf_counter() - began
            turns.append(seconds)
        results[name] = {side: statistics.median(turn[side] for turn in turns) for side in sides}
        results[name]["ratio"] = statistics.median(turn["ours"] / turn["theirs"] for turn in turns)
    return results


def held_bytes(field: str) -> int:
    """Returns bytes of this process's memory on Linux: VmRSS, held now, or VmHWM, the peak since `reset_peak`.

    Not of `getrusage`, with which a child starts from the peak of its parent.
    """
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f"{field}:"))


def reset_peak() -> None:
    """Starts the peak of `held_bytes` again (Linux)."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def measure_memory(arguments: argparse.Namespace, side: str, frames: int) -> dict[str, int]:
    """Returns {"peak", "held" (beyond the libraries)} in bytes, of forward + backward in a child process."""
    command = [sys.executable, __file__, f"--child={side}", f"--frames={frames}", f"--tokens={arguments.tokens}"]
    command += [f"--width={arguments.width}", f"--reference={arguments.reference}", f"--threads={arguments.threads}"]
    command += [
        f"--attention={arguments.attention}",
        f"--chunk={arguments.chunk}",
        *(["--tcr", *arguments.tcr] if arguments.tcr else []),
    ]
    # glibc then returns freed memory, for both sides, and the peak is of memory in use.
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "MALLOC_TRIM_THRESHOLD_": "0"})
    if done.returncode:
        raise SystemExit(f"the case {side} at {frames} frames failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def child(arguments: argparse.Namespace) -> None:
    """Prints the memory of one side as JSON; runs in a process of its own."""
    make, (frames,) = SIDES[arguments.child], arguments.frames
    make(arguments, 1)["forward + backward"]()  # the memory of libraries and the compiler counts for neither side
    gc.collect()
    before = held_bytes("VmRSS")
    step = make(arguments, frames)["forward + backward"]
    step()
    reset_peak()
    step()
    print(json.dumps({"peak": held_bytes("VmHWM"), "held": held_bytes("VmHWM") - before}))


def implied_memory_ratio(arguments: argparse.Namespace) -> float:
    """Returns the ratio, ours / theirs, of the numbers stored per visual token for the backward pass (§3.2.1).

    The TCR saves by narrower features and fewer cross-attention layers. Both store the token itself; the Q-Former keys
    and values of its own width in every other layer; the TCR one projection of the token, and keys and values of its
    width in its cross-attention blocks.
    """
    tcr, qformer = tcr_config(arguments), qformer_sizes(arguments)
    kept_ours = arguments.width + tcr.width * (1 + 2 * len(tcr.cross_attention_blocks))
    kept_theirs = arguments.width + qformer["width"] * 2 * -(-qformer["layers"] // 2)
    return kept_ours / kept_theirs


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns all measurements and their settings; prints a row for each number of frames."""
    rows: dict[int, dict[str, Any]] = {}
    for frames in arguments.frames:
        row = rows[frames] = {} if arguments.no_time else measure_times(arguments, frames)
        if not arguments.no_memory:
            row["memory"] = {side: measure_memory(arguments, side, frames) for side in SIDES}
            held = {side: memory["held"] for side, memory in row["memory"].items()}
            row["memory"]["ratio"] = held["ours"] / max(held["theirs"], 1)
        print(line(frames, row), flush=True)
    results = {
        "date": time.strftime("%Y-%m-%d"),
        "tcr": dataclasses.asdict(tcr_config(arguments)),
        "reference": {**qformer_sizes(arguments), "attention": arguments.attention},
        "chunk_frames": arguments.chunk,
        "threads": arguments.threads,
        "load": os.getloadavg()[0],
        "implied_memory_ratio": implied_memory_ratio(arguments),
        "rows": rows,
    }
    print(
        f"\nmemory that grows with frames, as §3.2.1 implies: {results['implied_memory_ratio']:.2f} of the reference's"
    )
    return results


def line(frames: int, row: dict[str, Any]) -> str:
    """Returns one row of the table, in Markdown."""
    cells = [str(frames)]
    for name in ("forward", "forward + backward"):
        if name in row:
            one = row[name]
            cells.append(f"{one['ours']:.3f} / {one['theirs']:.3f} s = **{one['ratio']:.2f}**")
    if "memory" in row:
        ours, theirs = (row["memory"][side]["held"] / 2**20 for side in ("ours", "theirs"))
        cells.append(f"{ours:.0f} / {theirs:.0f} MiB = **{row['memory']['ratio']:.2f}**")
    return f"| {' | '.join(cells)} |"


def vit_flops(config: Any) -> float:
    """Returns the floating-point operations of one image through a ViT: two per weight and token, and attention."""
    n, d = config.num_tokens, config.width
    patches = 2 * 3 * config.patch_size**2 * d * (n - config.cls_token)
    block = 2 * n * (4 * d * d + 2 * d * config.mlp_width) + 4 * n * n * d
    return patches + config.depth * block


def tcr_flops(config: Any, width: int, visual: int, prompt: int = PROMPT) -> float:
    """Returns those of one video of `visual` tokens through the TCR with one prompt, forward."""
    d, row = config.width, 1 + prompt + config.queries
    project = 2 * visual * width * d
    cross = 2 * (2 * visual * d * d + 2 * row * d * d) + 4 * row * visual * d
    own = 2 * row * (4 * d * d + 2 * config.mlp_ratio * d * d) + 4 * row * row * d
    return (
        project
        + len(config.cross_attention_blocks) * cross
        + config.blocks * own
        + 2 * config.queries * d * config.llm_width
    )


def on_accelerator(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns frames per second of ViT-g in bfloat16 and videos per second of the TCR step, with their utilisation.

    Utilisation is the fraction of the chip's peak that the model's own operations are; recomputation and padding do not
    count.
    """
    import jax
    import jax.numpy as jnp

    from storyjax.models.vit import VIT_G14_BLIP2, ViT

    device = jax.devices()[0]
    if device.platform == "cpu":
        raise SystemExit("--gpu: jax sees no accelerator here (pip install 'storyjax[cuda]' or 'storyjax[tpu]').")
    known = [peak for name, peak in PEAKS.items() if name.lower() in device.device_kind.lower()]
    peak = arguments.peak_tflops * 1e12 if arguments.peak_tflops else (known or [None])[0]

    def timed(program: Callable[[], Any]) -> float:
        program()
        turns = []
        for _ in range(arguments.repeats):
            began = time.perf_counter()
            program()
            turns.append(time.perf_counter() - began)
        return statistics.median(turns)

    def utilisation(flops: float, seconds: float) -> float | None:
        return None if peak is None else flops / seconds / peak

    results: dict[str, Any] = {"device": device.device_kind, "date": time.strftime("%Y-%m-%d"), "peak_flops": peak}
    vit = ViT(VIT_G14_BLIP2, dtype=jnp.bfloat16)
    images = jnp.zeros((64, 224, 224, 3), jnp.bfloat16)
    cast = jax.jit(lambda key: jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), vit.init(key, images[:1])))
    params = cast(jax.random.key(0))
    encode = jax.jit(vit.apply)
    seconds = timed(lambda params=params: jax.block_until_ready(encode(params, images)))
    flops = vit_flops(VIT_G14_BLIP2) * len(images)
    results["vit_g"] = {"frames_per_second": len(images) / seconds, "flop_utilisation": utilisation(flops, seconds)}
    del params
    for frames in arguments.frames:
        step = ours(arguments, frames, "bfloat16", batch=8)["forward + backward"]
        seconds = timed(step)
        # A backward pass costs twice the forward one.
        flops = 3 * 8 * tcr_flops(tcr_config(arguments), arguments.width, frames * arguments.tokens)
        results[f"tcr_{frames}_frames"] = {
            "videos_per_second": 8 / seconds,
            "flop_utilisation": utilisation(flops, seconds),
        }
    for name, numbers in results.items():
        print(name, numbers)
    return results


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measures what the command line asks for; returns the numbers."""
    arguments = parse(argv)
    if not arguments.gpu:
        os.environ["JAX_PLATFORMS"] = "cpu"
        # XLA has as many threads as there are cores; threads of either side must not spin while the other runs.
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if arguments.child:
        child(arguments)
        return {}
    if not arguments.gpu:
        columns = [] if arguments.no_time else ["forward", "forward + backward"]
        columns += [] if arguments.no_memory else ["peak memory"]
        print(f"| frames | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    results = on_accelerator(arguments) if arguments.gpu else compare(arguments)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)
    return results


if __name__ == "__main__":
    main()
