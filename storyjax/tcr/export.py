"""What other programs may want of a TCR: a video and a question in, what the language model would read of it out."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.resampler import TASK_TOKENS
from storyjax.train.experiment import Export, Input, Params


def exports(model: VideoLanguageModel) -> dict[str, Export]:
    """`resample`: the vision tower and the resampler over any number of frames (§3.2)."""
    size, longest = model.vision.config.image_size, model.tcr.config.max_prompt

    def resample(
        params: Params,
        frames: UInt8[Array, "b t y x 3"],
        seconds: Float[Array, "b t"],
        condition: Int[Array, "b l"],
    ) -> dict[str, Array]:
        resampled = model.resample(
            params,
            model.look(params, frames),
            seconds,
            jnp.ones(seconds.shape, bool),
            jnp.full((condition.shape[0], 1), TASK_TOKENS.index("QA"), jnp.int32),
            condition[:, None],
            (condition != 0)[:, None],
        )
        return {"queries": resampled.queries[:, 0], "looked": resampled.seen[:, 0]}

    resampler = Export(
        function=resample,
        about="Looks at a video under a question and gives what the language model is to read of it.",
        inputs={
            "frames": Input(f"b, t, {size}, {size}, 3", jnp.uint8, "RGB pixels 0..255, of any number of frames"),
            "seconds": Input("b, t", jnp.float32, "when each frame is on screen, from the beginning of the video"),
            "condition": Input("b, l", jnp.int32, "token ids of the question, padded behind with 0"),
        },
        outputs={
            "queries": "the query outputs in the language model's embedding space (b, queries, width)",
            "looked": "the share of the attention that each frame got (b, t), summing to one",
        },
        uses=f"(vision|{model.resampler})/.*",
        constraints=(f"l <= {longest}",),
    )
    return {"resample": resampler}
