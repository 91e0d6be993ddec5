"""The TCR for other programs: from a video and a question to what the language model would read of it."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from storyjax.tcr.interface import Prompt, Video
from storyjax.tcr.model import VideoLanguageModel
from storyjax.tcr.resampler import TASK_TOKENS
from storyjax.train.experiment import Export, Input, Params


def exports(model: VideoLanguageModel) -> dict[str, Export]:
    """Returns {"resample": the vision tower and the resampler over any number of frames (§3.2)}."""
    size, longest = model.vision.config.image_size, model.resampler.sizes.max_prompt

    def resample(
        params: Params,
        frames: UInt8[Array, "b t y x 3"],
        seconds: Float[Array, "b t"],
        condition: Int[Array, "b l"],
    ) -> dict[str, Array]:
        task = jnp.full((condition.shape[0], 1), TASK_TOKENS.index("QA"), jnp.int32)
        prompt = Prompt(task, condition[:, None], (condition != 0)[:, None])
        video = Video(seconds, jnp.ones(seconds.shape, bool), tokens=model.encode_frames(params, frames))
        resampled = model.encode_video(params, video, prompt)
        assert resampled.query_attention is not None  # it was asked for
        return {"queries": resampled.queries[:, 0], "looked": resampled.query_attention[:, 0]}

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
            "looked": "the fraction of the attention that each frame got (b, t), summing to one",
        },
        uses=f"(vision|{model.resampler.name})/.*",
        constraints=(f"l <= {longest}",),
    )
    return {"resample": resampler}
