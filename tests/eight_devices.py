"""Prints what programs exchange when eight devices share a batch, as JSON; test_collectives.py runs it.

{program: [[kind, shapes, bytes of all turns, whether all loops around it have known turns, source], ...]}
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from small_mqt import make, pairs

from storyjax.core.mesh_axes import AXES, BATCH_AXES
from storyjax.models.answer_scoring import ANSWERS_AT_ONCE, score_answers
from storyjax.models.t5 import T5, T5Config
from storyjax.models.t5_decoding import generate
from storyjax.models.vit import ViT, ViTConfig
from storyjax.mqt.losses import LossConfig, Losses
from storyjax.nn.deformable_attention import deformable_attention
from storyjax.nn.hungarian import assign_batch
from storyjax.plan.collectives import collectives
from storyjax.tcr.contrastive import Initialisation
from storyjax.tcr.decoding import sample
from storyjax.tcr.frame_stream import Streaming
from storyjax.tcr.heads.modules import set_loss
from storyjax.tcr.loader import FRAME_ARRAYS, Lengths
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.objective import QuestionAnswering
from storyjax.tcr.resampler import Tcr, TcrConfig, TcrResampler
from storyjax.train.experiment import Task
from storyjax.train.mesh import batch_sharding, replicated
from storyjax.train.optim import make_optimizer
from storyjax.train.params import partition
from storyjax.train.settings import OptimSettings
from storyjax.train.step import abstract_state, make_step

SHAPES = ((4, 6), (2, 3))
BATCH, FRAMES = 8, 4
found: dict[str, list[Any]] = {}
# As wide as nothing else, so that its tokens are known by their last dimension.
LANGUAGE = T5Config(vocab_size=60, d_model=24, d_kv=8, d_ff=32, num_heads=2, num_layers=1, num_decoder_layers=1)
VISION = ViTConfig(image_size=16, patch_size=8, width=48, depth=1, heads=2, mlp_width=32)
RESAMPLER = TcrConfig(
    vocab_size=60,
    llm_width=24,
    width=32,
    blocks=1,
    heads=4,
    queries=6,
    max_prompt=8,
    cross_attention_blocks=(0,),
)


def mesh_of(*shape: int) -> Mesh:
    return Mesh(np.array(jax.devices()).reshape(shape), AXES)


def record(name: str, function: Callable[..., Any], mesh: Mesh, *arguments: Any, **jit: Any) -> Any:
    """Compiles a function for abstract arguments, notes what it exchanges, and returns the program."""
    with jax.set_mesh(mesh):
        lower = function.lower if hasattr(function, "lower") else jax.jit(function, **jit).lower
        program = lower(*arguments).compile()
    found[name] = [[one.kind, one.shapes, one.total, one.counted, one.source] for one in collectives(program.as_text())]
    return program


def laid(mesh: Mesh, arrays: dict[str, Any], sequences: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        name: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=batch_sharding(mesh, name in sequences))
        for name, array in arrays.items()
    }


def whole(mesh: Mesh, tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh)), tree)


def deformable() -> None:
    rng, pixels = np.random.default_rng(0), sum(y * x for y, x in SHAPES)
    arrays = (
        rng.normal(size=(BATCH, pixels, 2, 4)).astype(np.float32),
        rng.uniform(-0.1, 1.1, size=(BATCH, 9, 2, 2, 3, 2)).astype(np.float32),
        rng.uniform(size=(BATCH, 9, 2, 2, 3)).astype(np.float32),
    )

    def both(*arrays: Any) -> Any:
        out, pull = jax.vjp(lambda *arrays: deformable_attention(*arrays, SHAPES), *arrays)
        return out, pull(out)

    plain = jax.jit(both)(*arrays)
    mesh = mesh_of(2, 2, 2)
    sharding = NamedSharding(mesh, PartitionSpec(BATCH_AXES))
    abstract = [jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding) for array in arrays]
    program = record("deformable attention", both, mesh, *abstract)
    same(program(*(jax.device_put(array, sharding) for array in arrays)), plain)
    few = tuple(jnp.asarray(array[:3]) for array in arrays)  # three images for eight devices
    with jax.set_mesh(mesh_of(8, 1, 1)):
        same(jax.jit(both)(*few)[0], plain[0][:3])


def same(ours: Any, theirs: Any) -> None:
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def matching(mesh: Mesh) -> None:
    sharding = NamedSharding(mesh, PartitionSpec(None, BATCH_AXES))
    shapes = (((3, BATCH, 4, 6), np.float32), ((3, BATCH, 4), bool), ((3, BATCH, 6), bool))
    layers = [jax.ShapeDtypeStruct(shape, dtype, sharding=sharding) for shape, dtype in shapes]
    record("matching of queries", assign_batch, mesh, *layers)
    rows = {"logits": (BATCH, 6), "spans": (BATCH, 6, 2), "truth": (BATCH, 4, 2), "there": (BATCH, 4)}
    given = {name: np.zeros(shape, bool if name == "there" else np.float32) for name, shape in rows.items()}
    record("set loss", jax.grad(lambda *rows: set_loss(*rows).mean()), mesh, *laid(mesh, given).values())


def video_model(chunk: int) -> VideoLanguageModel:
    return VideoLanguageModel(ViT(VISION), TcrResampler(Tcr(RESAMPLER)), T5(LANGUAGE), Streaming(chunk_frames=chunk))


def text_rows(mesh: Mesh) -> dict[str, Any]:
    shapes = Lengths(FRAMES, 1, 5, 4, 3).shapes(VISION.image_size, BATCH)
    return laid(mesh, shapes, FRAME_ARRAYS)


def stage_one(mesh: Mesh, chunk: int) -> None:
    objective = Initialisation(video_model(chunk), Tcr(RESAMPLER))
    params = whole(mesh, jax.eval_shape(objective.init, jax.random.key(0)))

    def gradients(params: Any, batch: Any) -> Any:
        trained = {name: params[name] for name in ("tcr", "head")}
        return jax.grad(lambda own: objective.loss({**params, **own}, batch, jax.random.key(0))[0])(trained)

    record(f"stage (i), chunks of {chunk}", gradients, mesh, params, text_rows(mesh), out_shardings=replicated(mesh))


def answering(mesh: Mesh) -> tuple[QuestionAnswering, Any, Any]:
    qa = QuestionAnswering(video_model(2), lambda: np.zeros((5, 3), np.int32))
    trainable, frozen = partition(jax.eval_shape(qa.model.init, jax.random.key(0)), "tcr/.*")
    return qa, whole(mesh, trainable), whole(mesh, frozen)


def training(mesh: Mesh) -> None:
    """A step over two micro-batches."""
    qa, trainable, frozen = answering(mesh)
    optimizer = make_optimizer(OptimSettings(), 10)
    state = abstract_state(trainable, optimizer, mesh)
    batch = {
        name: jax.ShapeDtypeStruct((2 * leaf.shape[0], *leaf.shape[1:]), leaf.dtype, sharding=leaf.sharding)
        for name, leaf in text_rows(mesh).items()
    }
    task = Task("nextqa", lambda spec: (), qa.loss, sequences=FRAME_ARRAYS)  # type: ignore[arg-type, return-value]
    step = make_step((task,), optimizer, state, frozen, mesh, accumulate=2)
    key = jax.eval_shape(lambda: jax.random.key(0))
    record("training step", step, mesh, state, frozen, (batch,), whole(mesh, key))


def captions(mesh: Mesh) -> None:
    """Word by word."""
    qa, trainable, frozen = answering(mesh)

    def caption(params: Any, batch: Any) -> Any:
        encoded, mask, _ = qa.encode(params, batch, None, attention=False)
        return generate(qa.model.llm, params["llm"], encoded, mask, 5)

    record("captions", caption, mesh, {**trainable, **frozen}, text_rows(mesh))


def answers(mesh: Mesh) -> None:
    """Many given ones, in chunks, and candidates that share what they answer."""
    llm, ids = T5(LANGUAGE), jnp.zeros((1, 2), jnp.int32)
    params = whole(mesh, jax.eval_shape(lambda: llm.init(jax.random.key(0), ids, ids == 0, ids))["params"])
    rows = laid(mesh, {"encoded": np.zeros((BATCH, 6, 24), np.float32), "mask": np.zeros((BATCH, 6), bool)})
    given = whole(mesh, np.zeros((2 * ANSWERS_AT_ONCE, 3), np.int32))
    record("scored answers", lambda p, e, m, a: score_answers(llm, p, e, m, a), mesh, params, *rows.values(), given)
    keys = jax.random.split(jax.random.key(0), 3)

    def draw(params: Any, encoded: Any, mask: Any) -> Any:
        return sample(llm, params, encoded, mask, 5, jnp.ones(60, bool), keys, (0.0, 0.7, 0.7), each=3)

    record("drawn answers", draw, mesh, params, *rows.values())


def tracking(mesh: Mesh) -> None:
    model, params = make()
    losses = Losses(model, LossConfig())

    def gradients(params: Any, batch: Any) -> Any:
        return jax.grad(lambda own: losses.tracking(own, batch, jax.random.key(0))[0])(params)

    batch = laid(mesh, pairs(BATCH))
    record("tracking", gradients, mesh, whole(mesh, params), batch, out_shardings=replicated(mesh))


if __name__ == "__main__":
    assert len(jax.devices()) == BATCH
    if sys.argv[1] == "short":
        deformable()
        matching(mesh_of(4, 2, 1))
        stage_one(mesh_of(4, 1, 2), 2)
        training(mesh_of(4, 1, 2))
    else:
        stage_one(mesh_of(4, 1, 2), 0)
        captions(mesh_of(4, 1, 2))
        answers(mesh_of(8, 1, 1))
        tracking(mesh_of(8, 1, 1))
    print(json.dumps(found))
