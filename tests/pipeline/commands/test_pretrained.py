"""Commands that take the models of this package."""

from __future__ import annotations

import json

import pytest
import yaml

from components.base.errors import UsageError
from components.pretrained import kept
from pipeline.commands.evaluate import evaluate
from pipeline.commands.predict import predict
from pipeline.commands.pretrained import pretrained
from tests import clothing


def test_they_are_listed_with_their_figures(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    pretrained()
    said = capsys.readouterr().out
    for name in kept.names():
        card = kept.find(name).card
        [line] = [line for line in said.splitlines() if f" {name} " in line]
        assert ("grey" if card.image.channels == 1 else "colour") in line
        assert f"{card.parameters:,}" in line
        for figures in card.figures:
            assert f"{figures.psnr:.2f}" in said
    pretrained(as_json=True)
    assert [card["name"] for card in json.loads(capsys.readouterr().out)] == kept.names()


def test_a_card_is_shown_by_its_name(capsys):
    pretrained("photo")
    said = capsys.readouterr().out
    card = kept.find("photo").card
    assert yaml.safe_load(said)["commands"] == list(card.commands)
    pretrained("photo", as_json=True)
    assert json.loads(capsys.readouterr().out)["sha256"] == card.sha256


def test_without_any_how_to_make_one_is_said(capsys, monkeypatch):
    monkeypatch.setattr(kept, "names", list)
    pretrained()
    assert "`denoise keep` makes one" in capsys.readouterr().out


def test_a_noise_that_is_none_is_told_before_anything_is_exported(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "find", None)
    call = {"inputs": ["shirt.png"], "output": "out", "pretrained": "photo"}
    with pytest.raises(UsageError, match="has no parameter sigma"):
        predict(**call, add_noise="gaussian(sigma=1)", workspace=tmp_path)
    with pytest.raises(UsageError, match="--add-noise: not with --beam"):
        predict(**call, add_noise="gaussian", beam=True, workspace=tmp_path)


@pytest.mark.ci
def test_one_is_measured_like_any_model(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    call = {"data": clothing.write_csvs(tmp_path / "data", train=3, test=8, seed=1)}
    call["workspace"] = tmp_path / "workspace"
    with pytest.raises(UsageError, match="not with --model"):
        evaluate(pretrained="fashion_mnist", model=tmp_path, **call)
    evaluate(pretrained="fashion_mnist", as_json=True, **call)
    rows = json.loads(capfd.readouterr().out)
    assert {row["noise"] for row in rows} >= {"gaussian(sd=0.5)", "salt_pepper(rate=0.1)"}
    for row in rows:
        assert row["psnr"] > row["noisy_psnr"]
