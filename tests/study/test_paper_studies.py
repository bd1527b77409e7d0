"""The studies of the paper: numbers of runs and grids."""

import functools
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from mtk import config, sweep
from mtk.study import Study, Sweep, engines
from tests.quick import slow, some

STUDIES = Path(__file__).parents[2] / "configs" / "studies"
ENGINES = STUDIES.parent / "engines"
# Numbers of runs of the first stage, and at most of the second, which the paper does not have.
NUMBERS = {
    "celeba": (9 * 7 * 16, 0),
    "celeba_short": (4 * 16, (1 + 11 * 4 + 5) * 5),
    "celeba_variants": (9 * 7 * (1 + 8 + 3 + 3 + 2), 0),
    "cityscapes": (7 * 10 * 28, 0),
    "cityscapes_short": (3 * 28, (19 + 5 * 3 + 5) * 5),
    "multi_digits": ((9 + 8) * 3, (9 + 8 * 3) * 5),
    "multi_digits_rates": (27, 8),
    "multi_mnist": (720, 0),
    "multi_mnist_rates": (27, 8),
    "multi30k": (6, 6 * 5),
    "translation_fr_zh": (54 + 66, 0),
    "translation_fr_de": (54 + 66, 0),
    "translation_fr_ro": (54 + 66, 0),
    "translation_short": (3 * 20, (9 + 5 * 3 + 5) * 5),
    "translation_sizes": (3 * 54, 0),
    "multi_mnist_variants": (8 * 5 * (1 + 8 + 3 + 3 + 2), 0),
    "multi_mnist_short": (77, (9 + 7 * 4 + 2 * 5) * 5),
}


@pytest.fixture(scope="module")
def expand(tmp_path_factory):
    """Returns a function that expands a shipped study, with a cache."""

    @functools.cache
    def expanded(name):
        config.parse([STUDIES / f"{name}.gin"])
        return Sweep(config.bound(Study)(), tmp_path_factory.mktemp(name), [STUDIES])

    return expanded


def test_every_shipped_study_is_listed():
    assert {path.stem for path in STUDIES.glob("*.gin")} == NUMBERS.keys()


@pytest.mark.parametrize(
    "name", some(NUMBERS, ["multi_digits", "multi_digits_rates", "multi30k", "multi_mnist_short"])
)
def test_dry_run_prints_the_number_of_runs(name, capsys):
    assert sweep.main([f"--gin_file={STUDIES / name}.gin", "--dry_run"]) == 0
    text = capsys.readouterr().out
    listed, further = NUMBERS[name]
    more = f" and at most {further:,} more" * bool(further)
    assert f"\n{name}: {listed:,} runs{more} ({listed:,} pending)" in text
    assert len(text.split("\n\n")[0].splitlines()) - 1 == listed
    assert (f"fresh seeds: at most {further:,}\n" in text) == (further > 0)
    assert "are equal to others" not in text


@pytest.mark.parametrize("name", NUMBERS)
def test_head_comment_states_the_number_of_runs(name):
    head = (STUDIES / f"{name}.gin").read_text().split("\n\n")[0]
    listed, further = NUMBERS[name]
    told = [int(number) for number in re.findall(r"(\d+) runs", head)]
    assert told[:1] in ([listed], [listed + further])
    assert [int(most) for most in re.findall(r"at most (\d+)", head)] in ([], [further])


def test_multi_mnist_has_the_grid_of_the_paper(expand):
    runs = expand("multi_mnist").runs
    assert len({run.hash for run in runs}) == 720
    rates = {run.point["experiment.Optimization.learning_rate"] for run in runs}
    assert rates == {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5}
    dropouts = {run.point["multi_mnist.MultiMNIST.dropout"] for run in runs}
    assert dropouts == {0.1, 0.2, 0.3, 0.4, 0.5}
    weights = [run.point.get("combiners.StaticWeights.weights") for run in runs]
    left = [w["left"] for w in weights if w]
    assert np.allclose(np.unique(left, return_counts=True), [np.arange(1, 10) / 10, [40] * 9])
    assert np.allclose([w["left"] + w["right"] for w in weights if w], 1)
    alphas = [run.point.get("combiners.GradNorm.alpha") for run in runs]
    assert {a: alphas.count(a) for a in {*alphas} - {None}} == {0.5: 40, 1.0: 40, 1.5: 40, 2.0: 40}
    assert all("epochs = 100" in run.text for run in runs)


def test_translation_has_522_runs_of_the_paper(expand):
    names = [name for name in NUMBERS if name.startswith("translation_")]
    names.remove("translation_short")  # Not in the paper.
    runs = {name: expand(name).runs for name in names}
    assert len({run.hash for of_one in runs.values() for run in of_one}) == 522
    for name, of_one in runs.items():
        rates = {run.point["experiment.Optimization.learning_rate"] for run in of_one}
        assert rates == {0.05, 0.1, 0.5, 1, 2.5, 5}
        key = "translation.Translation.sampling_rates"
        shares = [run.point[key] for run in of_one if key in run.point]
        french = [share["fr"] for share in shares]
        sizes = 3 if name == "translation_sizes" else 1
        found = np.unique(french, return_counts=True)
        assert np.allclose(found, [np.arange(1, 10) / 10, [6 * sizes] * 9])
        assert np.allclose([sum(share.values()) for share in shares], 1)
    alphas = [run.point.get("combiners.GradNorm.alpha") for run in runs["translation_fr_ro"]]
    assert {a: alphas.count(a) for a in {*alphas} - {None}} == {k / 4: 6 for k in range(1, 7)}
    for name, of_one in runs.items():
        steps = 397_529 if name.endswith(("_de", "_ro")) else 530_038
        assert all(f"steps = {steps}" in run.text for run in of_one)


@pytest.mark.slow
def test_cityscapes_has_the_grid_of_the_paper(expand):
    runs = expand("cityscapes").runs
    assert len({run.hash for run in runs}) == 1960
    rates = sorted({run.point["experiment.Optimization.learning_rate"] for run in runs})
    assert np.allclose(np.log10(rates), np.arange(-5, -1.9, 0.5), atol=1e-6)
    none, *decays = sorted({run.point["experiment.Optimization.weight_decay"] for run in runs})
    assert none == 0
    assert np.allclose(np.log10(decays), np.arange(-6, -1.9, 0.5), atol=1e-6)
    weights = [run.point.get("combiners.StaticWeights.weights") for run in runs]
    shares = [w["depth"] for w in weights if w]
    assert np.allclose(np.unique(shares, return_counts=True)[1], [70] * 19)
    assert np.allclose(np.unique(shares), np.arange(1, 20) / 20)


@pytest.mark.parametrize("name", some(["celeba", "multi_mnist"], ["multi_mnist"]))
def test_mgda_variants_are_those_of_the_papers_code(name, expand):
    """`loss+` on features; the variants have every normalization at both places."""
    mgda = [run for run in expand(name).runs if run.method == "mgda"]
    assert all("normalization = 'loss+'" in run.text for run in mgda)
    assert all("at = 'representation'" in run.text for run in mgda)
    variants = expand(f"{name}_variants").runs
    keys = "combiners.MGDA.normalization", "combiners.MGDA.at"
    found = [tuple(run.point[key] for key in keys) for run in variants if run.method == "mgda"]
    assert {pair: found.count(pair) for pair in found} == {
        (normalization, at): len(mgda)
        for normalization in ("none", "l2", "loss", "loss+")
        for at in ("parameters", "representation")
    }
    drops = {run.method for run in variants if run.method.startswith("graddrop")}
    assert drops == {"graddrop", "graddrop_features"}


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        slow(("celeba_variants", ("imtl", "imtl_l"))),
        ("multi_mnist_variants", ("imtl", "imtl_l")),
        ("multi_digits", ("imtl",)),
        ("multi_mnist_short", ("imtl",)),
    ],
)
def test_imtl_has_rates_ten_times_lower(name, methods, expand):
    runs = expand(name).runs
    key = "experiment.Optimization.learning_rate"
    rates = {
        m: sorted({r.point[key] for r in runs if r.method == m}) for m in {r.method for r in runs}
    }
    for method in methods:
        assert np.allclose(np.multiply(rates[method], 10), rates["static_weights"])
    if name.endswith("variants"):
        for label, key in (("imtl", "IMTL"), ("imtl_l", "IMTLL")):
            own = {r.point.get(f"combiners.{key}.learning_rate") for r in runs if r.method == label}
            assert len(own) == 3


@pytest.mark.parametrize("name", ["multi_mnist_rates", "multi_digits_rates"])
def test_sampling_rates_are_nine_sparse_grids(name, expand):
    made = expand(name)
    rates = [run.point["experiment.Optimization.learning_rate"] for run in made.runs]
    wanted = np.outer([0.001, 0.01, 0.1], np.arange(1, 10)).ravel()
    assert np.allclose(rates, wanted, rtol=1e-12)
    assert len({*made.study.seeds, *made.study.second_stage}) == 9


@pytest.mark.parametrize("path", sorted(ENGINES.glob("*.gin")), ids=lambda path: path.stem)
def test_engine_config_shows_every_option(path):
    config.parse([STUDIES / "multi_digits.gin", path])
    engine = {"local": engines.Local, "ray": engines.Ray, "slurm": engines.Slurm}[path.stem]
    bindings = config.bindings()
    assert bindings["sweeping.sweep.engine"] == f"@engines.{engine.__name__}"
    own = f"{path.stem}.{engine.__name__}."
    shown = {key.removeprefix(own): v for key, v in bindings.items() if key.startswith(own)}
    parameters = inspect.signature(engine).parameters
    assert shown == {name: repr(parameter.default) for name, parameter in parameters.items()}


@pytest.mark.parametrize("name", ["multi_digits", "multi_mnist_short"])
def test_split_depends_on_the_seed(name, expand):
    """Runs of one seed use the same data, runs of another seed other data."""
    made = expand(name)
    run = made.runs[0]
    other = made.grid.run(run.method, run.point, made.study.second_stage[0])
    for each in (run, other):
        assert f"seed = {each.seed}" in each.text
        assert "data_seed = %seed" in each.text
