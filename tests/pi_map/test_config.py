"""Personalisation end to end on a small world: π alone trains, and the results are those that the tables show."""

import json
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from storyjax.cli.main import run as command
from storyjax.core.errors import StoryjaxError
from storyjax.gallery.gallery import Gallery
from storyjax.pi_map.enrolment import NegativeBank
from storyjax.pi_map.evaluate import METHODS
from storyjax.pi_map.predict import ThingFinder
from storyjax.pi_map.qualitative import ranked_queries
from storyjax.pi_map.tokens import find_token, learned_tokens, load_tokens, main, save_tokens
from storyjax.train import loop
from storyjax.weights.export_run import export_run


@pytest.fixture
def run(thisismy_config: ConfigDict, tmp_path: Path) -> tuple[Path, dict[str, float]]:
    return tmp_path / "run", loop.run(thisismy_config, tmp_path / "run", progress=False)


def test_a_run_gives_results_tokens_and_a_finder(run: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    folder, results = run
    for method in METHODS:
        for kind, metrics in (("context", ("mrr", "r5")), ("generic", ("map", "mrr"))):
            for metric in metrics:
                assert 0 <= results[f"thisismy/{kind}/{method}/{metric}"] <= 1
        assert 0 <= results[f"thisismy_eval/generic/{method}/tr5"] <= 1
    assert results["thisismy/context/chance/mrr"] < 0.6
    assert json.loads((folder / "results.json").read_text()) == pytest.approx(results)

    assert main([str(folder), str(tmp_path / "tokens.safetensors")]) == 0
    tokens, fingerprint = learned_tokens(folder)
    loaded = load_tokens(tmp_path / "tokens.safetensors", fingerprint)
    assert len(tokens) == 5
    for name, token in tokens.items():
        assert token.shape == (1, 32)
        np.testing.assert_allclose(loaded[name], token, atol=1e-6)

    # The single results are those of the metrics (Fig. 5.5).
    asked = ranked_queries(folder, "context", queries=100)
    marks = [[each.mark for each in query.results] for query in asked]
    assert np.mean([row[0] == "right" for row in marks]) == pytest.approx(results["thisismy/context/text/r1"])
    assert np.mean(["right" in row for row in marks]) == pytest.approx(results["thisismy/context/text/r5"])
    assert {mark for row in marks for mark in row} == {"right", "elsewhere", "wrong"}
    assert all(each.image.ndim == 3 for each in asked[0].results)
    assert f"<{next(iter(tokens))}>" in " ".join(each.query for each in asked)
    with pytest.raises(StoryjaxError, match="kind of queries: unknown 'contexts'"):
        ranked_queries(folder, "contexts")

    finder = ThingFinder.from_pretrained(folder)
    name = next(iter(tokens))
    query = finder.embed_query("a photo of <it> in the park", {"it": find_token(tokens, name, "the run")})
    assert query.shape == (finder.dim,)
    assert np.linalg.norm(query) == pytest.approx(1, abs=1e-5)

    # The command enrols what the run has learned, without photos.
    places = ["--gallery", str(tmp_path / "gallery"), "--checkpoint", str(folder)]
    learned = ["--tokens", str(tmp_path / "tokens.safetensors")]
    assert command(["find", "enrol", name, "--thing", "dog", *learned, *places]) == 0
    gallery = Gallery(tmp_path / "gallery")
    ((_, token),) = gallery.rows(gallery.get(name))
    np.testing.assert_allclose(token, tokens[name], atol=1e-6)

    # The run has left its things as negatives, so that others can be enrolled; without them enrolling is refused.
    bank = NegativeBank.load(folder / NegativeBank.FILE)
    assert len(bank.captions) == 5
    assert sorted(set(bank.objects.tolist())) == list(range(5))
    np.testing.assert_allclose(np.linalg.norm(bank.whole, axis=1), 1, atol=1e-2)
    photos = [np.full((40, 40, 3), 90, np.uint8)]
    assert np.isfinite(finder.enrol(photos, "dog")).all()
    export_run(folder, "safetensors", tmp_path / "exported")
    assert (tmp_path / "exported" / NegativeBank.FILE).read_bytes() == (folder / NegativeBank.FILE).read_bytes()
    (folder / NegativeBank.FILE).unlink()
    with pytest.raises(StoryjaxError, match="no bank of other things"):
        ThingFinder.from_pretrained(folder).enrol(photos, "dog")


def test_tokens_of_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.safetensors"
    save_tokens(path, {"my dog chia": np.ones((1, 4), np.float32)}, "one")
    assert set(load_tokens(path)) == {"my dog chia"}
    with pytest.raises(StoryjaxError, match="other weights"):
        load_tokens(path, "two")
    with pytest.raises(StoryjaxError, match="Did you mean 'my dog chia'"):
        find_token(load_tokens(path), "my dog chai", str(path))


def test_an_object_needs_a_template(thisismy_config: ConfigDict, tmp_path: Path) -> None:
    thisismy_config.data.templates = 0
    with pytest.raises(StoryjaxError, match="nothing to learn from"):
        loop.run(thisismy_config, tmp_path / "run", progress=False)
