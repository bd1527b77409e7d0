import ast
from pathlib import Path

import pytest
from toy import toy_corpus

import mtk
from mtk import config, experiment
from mtk.data.translation.batches import Lengths
from mtk.workloads import Translation
from tests.quick import some

CONFIGS = Path(__file__).parents[2] / "configs"
OVERLAYS = sorted((CONFIGS / "combiners").glob("*.gin"))
# Combiners that run by default: one that is refused.
QUICK = [CONFIGS / "combiners" / "mgda_representation.gin"]
PAIRS = {"fr_zh": ("fr", "zh"), "fr_de": ("fr", "de"), "fr_ro": ("fr", "ro")}


@pytest.fixture(autouse=True)
def _no_configuration():
    yield
    config.parse()


@pytest.fixture(scope="module")
def corpus():
    return toy_corpus(sizes=(40, 5, 5))


@pytest.mark.parametrize("overlay", some(OVERLAYS, QUICK), ids=lambda path: path.stem)
def test_every_combiner_steps(overlay, corpus):
    config.parse([CONFIGS / "translation_cldr.gin", overlay])
    combiner = config.values(experiment.run)["combiner"]()
    rates = ast.literal_eval(config.bindings()["translation.Translation.sampling_rates"])
    small = {"num_layers": 1, "width": 8, "feed_forward_width": 8, "num_heads": 1}
    workload = Translation(lambda: corpus, rates, Lengths(12, fixed=True), **small)
    # Six per language: some methods compare thirds of a batch.
    batches = workload.train(12, 1, seed=0)
    mixed = overlay.stem == "proportional_sampling"
    assert isinstance(batches.element_spec, tuple if mixed else dict)
    model = mtk.MultiTaskModel(workload.network(0), workload.tasks, combiner)
    model.compile("adam", run_eagerly=True)
    if combiner.at == "representation":
        with pytest.raises(ValueError, match="tasks that share their input"):
            model.check(batches)
        return
    model.check(batches)
    before = [variable.numpy() for variable in model.network.trainable_variables]
    logs = model.fit(batches, verbose=0, shuffle=False).history
    assert all(0 < logs[f"{language}_loss"][0] < 20 for language in ("fr", "de"))
    after = model.network.trainable_variables
    moved = [(old != new.numpy()).any() for old, new in zip(before, after, strict=True)]
    # A subset of the tasks leaves the heads of the other tasks unchanged.
    assert any(moved) if overlay.stem == "task_subset" else all(moved)


@pytest.mark.parametrize("pair", PAIRS)
def test_settings_of_the_paper(pair):
    text = config.parse([CONFIGS / f"translation_{pair}.gin"], ["folder = 'nowhere'"])
    values = {name: value.strip("'") for name, value in config.bindings().items()}
    network = "translation.Translation."
    steps = 530_038 if pair == "fr_zh" else 397_529
    assert values["experiment.Training.steps"] == str(steps)
    assert values["experiment.Optimization.batch_size"] == "1024"
    assert values["experiment.Training.evaluate_every"] == "5000"
    assert values[f"{network}num_layers"] == "3"
    assert values[f"{network}label_smoothing"] == "0.1"
    assert values[f"{network}dropout"] == "0.1"
    factories = config.values(experiment.Optimization)
    schedule = factories["schedule"](learning_rate=0.5, steps_per_epoch=1)
    assert float(schedule(40_000 - 1)) == pytest.approx(0.0025)
    assert float(schedule(20_000 - 1)) == pytest.approx(0.00125)
    assert float(schedule(160_000 - 1)) == pytest.approx(0.00125)
    optimizer = factories["optimizer"](learning_rate=schedule)
    assert (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon) == (0.9, 0.98, 1e-9)
    assert f"languages = {PAIRS[pair]}" in text


def test_missing_folder_raises(tmp_path):
    config.parse([CONFIGS / "translation_multi30k.gin"], [f"folder = '{tmp_path / 'none'}'"])
    with pytest.raises((ValueError, OSError), match="none") as caught:
        config.bound(experiment.run, ["run_dir"], experiment.check)()
    assert "folder = " in config.explain(caught.value)


@pytest.mark.slow
def test_cldr_config_trains(tmp_path):
    small = [
        "cldr.cldr_corpus.num_train = 400",
        "cldr.cldr_corpus.num_validation = 10",
        "cldr.cldr_corpus.num_test = 10",
        "cldr.cldr_corpus.vocabulary_size = 700",
        "translation.Translation.width = 16",
        "translation.Translation.num_layers = 1",
        "experiment.Optimization.batch_size = 16",
        "experiment.Training.steps = 4",
    ]
    config.parse([CONFIGS / "translation_cldr.gin"], small)
    result = config.bound(experiment.run, ["run_dir"])(run_dir=tmp_path / "run")
    assert result["status"] == "finished"
    for split in ("validation", "test"):
        for language in ("fr", "de"):
            assert 0 <= result[split]["tasks"][language]["bleu"] <= 100
    exported = {path.name for path in (tmp_path / "run").iterdir() if path.is_dir()}
    assert {"saved_model", "saved_model_ids"} <= exported
