"""Who is best, and who is what."""

from pipeline.benchmark.contents import Benchmark
from tests.pipeline.benchmark.conftest import NOISES


def test_it_survives_json(found):
    assert Benchmark.model_validate_json(found.model_dump_json()) == found


def test_methods_are_ranked_by_psnr(found):
    assert [result.method for result in found.ranked(NOISES[0])] == [
        "model-1",
        "ridge",
        "median",
        "model-2",
        "noisy",
    ]
    assert found.overall()[0].name == "model-1"
    assert found.mean_psnr("model-1") == 24.5


def test_of_photographs_a_model_is_compared_with_bm3d(found):
    [photographs] = found.photographs
    median = photographs.method("bm3d").model_copy(update={"name": "median", "title": "median"})
    better = photographs.result("photo_grey", NOISES[0]).model_copy(update={"method": "median"})
    more = photographs.model_copy(
        update={
            "methods": [*photographs.methods, median],
            "results": [*photographs.results, better],
        }
    )
    assert more.rival().name == "bm3d", "whichever filter is better"
    [gain] = more.gains("photo_grey", "bm3d")
    assert (gain.mean, gain.median, gain.better) == (0.5, 0.5, 1)
    without = more.model_copy(update={"methods": [photographs.methods[0], median]})
    assert without.rival().name == "median"
    assert without.model_copy(update={"methods": photographs.methods[:1]}).rival() is None


def test_the_best_filter_is_chosen_by_its_tuning_images(found):
    blur = found.method("median").model_copy(update={"name": "blur", "title": "blur"})
    better_on_test = found.result("median", NOISES[0]).model_copy(
        update={
            "method": "blur",
            "rows": found.result("ridge", NOISES[0]).rows,
            "tuning": found.result("median", NOISES[0]).tuning.model_copy(update={"psnr": 1.0}),
        }
    )
    more = found.model_copy(
        update={
            "methods": [*found.methods, blur],
            "results": [*found.results, better_on_test],
        }
    )
    assert more.ranked(NOISES[0])[1].method in ("blur", "ridge")
    assert more.best("filter", NOISES[0]).method == "median"


def test_blind_models_and_specialists_are_told_apart(found):
    assert found.blind().name == "model-1"
    assert found.specialist(NOISES[1]).name == "model-2"
    assert found.specialist(NOISES[0]) is None
    assert found.what_for(found.result("model-1", NOISES[0])) == "blind: trained on a mixture"
    assert found.what_for(found.result("model-2", NOISES[1])) == "trained on this noise"
    assert found.what_for(found.result("model-2", NOISES[0])) == f"trained on {NOISES[1]}"
    assert found.what_for(found.result("median", NOISES[0])) == "size 3, tone curve"
