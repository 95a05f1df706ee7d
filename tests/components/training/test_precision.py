"""What runs on this machine is measured: a candidate that dies is a line of the log."""

from __future__ import annotations

import json
import logging
import os

import pytest

from components.base.errors import UsageError
from components.training import precision
from components.training.result import Candidate
from tests import bfloat16, warm
from tests.components.training import measures

FLOAT32, BFLOAT16 = precision.CANDIDATES[:2]


def _measured(folder, measure, **model):
    return precision.measured(measures.job(folder, **model), folder, (FLOAT32, BFLOAT16), measure)


def test_a_candidate_that_dies_is_a_line_of_the_log(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        tried = _measured(tmp_path, measures.bfloat16_dies)
    assert [each.images_per_second for each in tried] == [400.0, None]
    assert "SIGILL" in tried[1].error
    (line,) = [r.getMessage() for r in caplog.records if r.name == precision.__name__]
    assert "mixed_bfloat16 cannot train here" in line
    assert "SIGILL" in line
    assert precision.fastest(tried).precision == "float32"


def test_what_was_measured_is_kept_for_this_machine_and_model(tmp_path, monkeypatch):
    first = _measured(tmp_path, measures.bfloat16_is_faster)
    assert precision.fastest(first).precision == "mixed_bfloat16"
    # Were it measured again, it would die.
    assert _measured(tmp_path, measures.bfloat16_dies) == first
    other_model = _measured(tmp_path, measures.bfloat16_dies, widths=[8])
    assert precision.fastest(other_model).precision == "float32"
    monkeypatch.setattr(precision, "_cpu", lambda: ["model name : another"])
    assert precision.fastest(_measured(tmp_path, measures.bfloat16_dies)).precision == "float32"
    monkeypatch.undo()
    assert _measured(tmp_path, measures.bfloat16_dies) == first


def test_fewer_instructions_are_tried_where_they_may_help(tmp_path, monkeypatch):
    """A minute of `make run` went by on a CPU without bfloat16."""
    monkeypatch.setattr(precision, "untouched", lambda: True)
    monkeypatch.delenv(precision.ISA, raising=False)

    def tried(name, measure):
        job = measures.job(tmp_path)
        return precision.measured(job, tmp_path / name, measure=measure)

    slow = tried("slow", measures.bfloat16_is_slow)
    assert [each.images_per_second for each in slow] == [400.0, 50.0]
    kept = tmp_path / "slow" / precision.FILE
    before = kept.stat().st_mtime_ns
    assert tried("slow", measures.bfloat16_dies) == slow, "nor later"
    assert kept.stat().st_mtime_ns == before, "nothing was measured, so nothing is written"
    (float32, dies, limited) = tried("dies", measures.bfloat16_dies_with_all_instructions)
    assert "SIGILL" in dies.error
    assert precision.fastest([float32, dies, limited]) == limited
    close = tried("close", measures.bfloat16_is_faster)
    assert [each.environment for each in close] == [{}, {}, precision.CANDIDATES[2].environment]


def test_an_error_that_may_be_mended_is_not_kept(tmp_path):
    failed = _measured(tmp_path, measures.fails)
    assert [each.error for each in failed] == ["ValueError: no kernel for this"] * len(failed)
    mended = _measured(tmp_path, measures.bfloat16_is_faster)
    assert precision.fastest(mended).precision == "mixed_bfloat16"
    other_code = measures.job(tmp_path).model_copy(update={"code": "other"})
    tried = precision.measured(other_code, tmp_path, (BFLOAT16,), measures.bfloat16_dies)
    assert tried[0].error.startswith("ended by SIGILL")
    tried = precision.measured(other_code, tmp_path, (BFLOAT16,), measures.bfloat16_is_faster)
    assert tried[0].error.startswith("ended by SIGILL"), "that stays"


def test_a_file_that_cannot_be_read_is_measured_anew(tmp_path, caplog):
    (tmp_path / precision.FILE).write_text('{"cut": [')
    assert _measured(tmp_path, measures.bfloat16_is_faster)[1].images_per_second == 700.0
    assert "measured anew" in caplog.text
    assert len(json.loads((tmp_path / precision.FILE).read_text())) == 1


def test_one_that_hangs_is_too_slow_and_one_that_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "_LIMIT_SECONDS", 10)
    tried = precision.measured(measures.job(tmp_path), tmp_path / "1", (BFLOAT16,), measures.hangs)
    assert tried[0].error == "took longer than 10 s"
    failed = _measured(tmp_path / "2", measures.fails)
    assert failed[0].error == "ValueError: no kernel for this"
    assert precision.fastest(failed) == FLOAT32
    with pytest.raises(UsageError, match="widths cannot be 0"):
        _measured(tmp_path / "3", measures.refuses)


def _rates(*rates):
    return [
        Candidate(precision=f"p{number}", images_per_second=rate)
        for number, rate in enumerate(rates)
    ]


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ((400, 761, 760), 1),
        ((400, 410, 415), 0),
        ((None, 300, 400), 2),
        ((540, 360, None), 0),
        ((None, None, 5), 2),
    ],
)
def test_the_fastest_is_taken_and_of_equals_the_preferred_one(rates, expected):
    assert precision.fastest(_rates(*rates)).precision == f"p{expected}"


def test_the_very_model_trains_in_every_candidate(tmp_path):
    """In a process where TensorFlow has computed nothing, as in the pipeline's."""
    arguments = [tmp_path, measures.job(tmp_path).model_dump_json()]
    environment = {k: v for k, v in os.environ.items() if k != precision.ISA}
    done = warm.call("tests.components.training.tries", arguments, environment)
    assert done.returncode == 0, done.stderr[-3000:]
    tried = [Candidate.model_validate(each) for each in json.loads(done.stdout)]
    names = [each.name for each in tried]
    assert names[:2] == ["float32", "mixed_bfloat16"]
    assert tried[0].images_per_second > 0
    bfloat16 = tried[1].images_per_second
    hopeless = bfloat16 is not None and bfloat16 < tried[0].images_per_second / 2
    limited = ["mixed_bfloat16 with ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16"]
    assert names[2:] == ([] if hopeless else limited)
    for each in tried:
        assert (each.images_per_second is None) == (each.error is not None)


def test_tests_that_need_bfloat16_are_skipped_where_it_dies(monkeypatch):
    monkeypatch.setattr(bfloat16, "MODULE", measures.__name__)
    monkeypatch.setattr(bfloat16, "_reason", bfloat16._reason.__wrapped__)
    with pytest.raises(pytest.skip.Exception, match="ended by SIGILL"):
        bfloat16.require()
