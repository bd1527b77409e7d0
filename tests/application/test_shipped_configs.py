import dataclasses
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from application_runs import described
from sklearn.datasets import load_digits

from mtk import combiners, config, experiment
from mtk.experiment.options import GROUPS
from mtk.models import sharing
from tests.quick import some

CONFIGS = Path(__file__).parents[2] / "configs"
OVERLAYS = sorted((CONFIGS / "combiners").glob("*.gin"))
ARCHITECTURES = sorted((CONFIGS / "architectures").glob("*.gin"))
STRATEGIES = sorted((CONFIGS / "strategies").glob("*.gin"))
SMALL = [
    "multi_digits.MultiDigits.partners = 1",
    "multi_digits.MultiDigits.channels = (4, 4)",
    "experiment.Optimization.batch_size = 66",  # Divisible by two and three.
]


@pytest.fixture(autouse=True)
def _no_configuration():
    yield
    config.parse()


def set_by(overlay):
    return re.findall(r"^    (\w+) = ", overlay.read_text(), flags=re.MULTILINE)


def named(overlay):
    return re.search(r"experiment\.run\.combiner = @combiners\.(\w+)", overlay.read_text())[1]


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_every_combiner_is_built(overlay):
    config.parse([CONFIGS / "multi_digits.gin", overlay], SMALL)
    combiner = config.values(experiment.run)["combiner"]()
    assert type(combiner) is getattr(combiners, named(overlay))
    assert set(set_by(overlay)) <= config.bound_values(type(combiner)).keys()


QUICK = [CONFIGS / "combiners" / "mgda_representation.gin"]


@pytest.mark.slow
@pytest.mark.parametrize("overlay", some(OVERLAYS, QUICK), ids=lambda path: path.stem)
def test_every_combiner_builds_and_steps(overlay):
    config.parse([CONFIGS / "multi_digits.gin", overlay], SMALL)
    text = described()
    assert f"combiner            {named(overlay)}\n" in text
    assert "one step" in text
    # Every binding of the overlay is in force.
    for name in set_by(overlay):
        assert re.search(rf"combiners\.{named(overlay)}\.{name} = ", text)


def test_every_architecture_has_a_config():
    trunked = [n for n in sharing.__all__ if "trunk" in _parameters(getattr(sharing, n))]
    assert {path.stem for path in ARCHITECTURES} == {*trunked} - {"shared_bottom"}


def _parameters(named):
    return inspect.signature(named).parameters


@pytest.mark.parametrize("overlay", ARCHITECTURES, ids=lambda path: path.stem)
def test_every_architecture_is_built(overlay):
    config.parse([CONFIGS / "multi_digits.gin", overlay], SMALL)
    network = config.values(experiment.run)["workload"]().network(0)
    assert network.name == overlay.stem
    assert {output.shape for output in network.output.values()} == {(None, 10)}
    build = getattr(sharing, overlay.stem)
    assert set(set_by(overlay)) == config.bound_values(build).keys() - {"network"}
    # Sizes are set by the workload.
    assert set(set_by(overlay)) == _parameters(build).keys() - {
        *("trunk", "task_names", "width", "tower", "dropout", "seed")
    }


@pytest.mark.parametrize("overlay", some(ARCHITECTURES, []), ids=lambda path: path.stem)
def test_every_architecture_builds_and_steps(overlay):
    config.parse([CONFIGS / "multi_digits.gin", overlay], SMALL)
    assert "one step" in described()


def test_architecture_for_a_workload_without_a_network_option_raises():
    overlay = CONFIGS / "architectures" / "mmoe.gin"
    with pytest.raises(config.ConfigError, match="never used as %network"):
        config.parse([CONFIGS / "translation_cldr.gin", overlay])


@pytest.mark.parametrize("overlay", STRATEGIES, ids=lambda path: path.stem)
def test_every_gradient_strategy_is_set_by_one_value(overlay):
    text = config.parse([CONFIGS / "multi_digits.gin", overlay])
    assert f"\nexperiment.Numerics.strategy = @distribution.{overlay.stem}\n" in text


@pytest.mark.slow
def test_multi_digits_without_overlay():
    config.parse([CONFIGS / "multi_digits.gin"], SMALL)
    assert "StaticWeights" in described()


@pytest.mark.slow
def test_preference_conditioned_multi_digits_builds_and_steps():
    config.parse([CONFIGS / "multi_digits_front.gin"], SMALL)
    text = described()
    assert "combiner            RLW\n" in text
    assert "multi_digits_conditioned" in text
    assert "one step" in text


@pytest.fixture
def mnist_file(tmp_path):
    """A small file in MNIST's format, of real digits on a larger canvas."""
    digits = load_digits()
    images = np.zeros((len(digits.images), 28, 28), "uint8")
    images[:, 2:26, 2:26] = np.repeat(np.repeat(digits.images * 15, 3, axis=1), 3, axis=2)
    x, y = images, digits.target.astype("uint8")
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=x[:1400], y_train=y[:1400], x_test=x[1400:], y_test=y[1400:])
    return path


def test_multi_mnist_has_the_settings_of_the_paper(mnist_file):
    small = ["multi_mnist.MultiMNIST.num_validation = 400"]
    config.parse([CONFIGS / "multi_mnist.gin"], [f"data_dir = {str(mnist_file)!r}", *small])
    text = described()
    for setting in (
        "keras.optimizers.SGD.momentum = 0.8",
        "schedules.StepDecay.factor = 0.85",
        "schedules.StepDecay.every = 30",
        "experiment.Optimization.batch_size = 256",
        "experiment.Training.epochs = 100",
    ):
        assert setting in text


def test_multi_mnist_requires_its_data():
    with pytest.raises(config.ConfigError, match=r"--gin\.data_dir=VALUE"):
        config.parse([CONFIGS / "multi_mnist.gin"])


@pytest.fixture
def energy_file(tmp_path):
    """A table in the format of the Energy Efficiency data set."""
    numbers = np.random.default_rng(0).normal(size=(400, 10))
    names = [*(f"X{n}" for n in range(1, 9)), "Y1", "Y2"]
    np.savetxt(tmp_path / "enb.csv", numbers, delimiter=",", header=",".join(names), comments="")
    return tmp_path / "enb.csv"


def test_energy_builds_and_steps(energy_file):
    config.parse([CONFIGS / "energy.gin"], [f"data_dir = {str(energy_file)!r}"])
    text = described()
    assert "schedules.Cosine.epochs = 50" in text
    assert "one step" in text


@pytest.mark.parametrize("overlay", some(ARCHITECTURES, []), ids=lambda path: path.stem)
def test_architectures_of_tables_build_and_step(overlay, energy_file):
    config.parse([CONFIGS / "energy.gin", overlay], [f"data_dir = {str(energy_file)!r}"])
    if overlay.stem == "mtan":
        with pytest.raises(ValueError, match="convolutional features"):
            described()
    else:
        assert "one step" in described()


def test_missing_data_folder_raises(tmp_path):
    config.parse([CONFIGS / "multi_mnist.gin"], [f"data_dir = {str(tmp_path / 'none')!r}"])
    with pytest.raises(ValueError, match="No MNIST at") as caught:
        config.bound(experiment.run, ["run_dir"], experiment.check)()
    text = config.explain(caught.value)
    assert "command line, line 1: data_dir = " in text
    assert "dropout" not in text


@pytest.mark.parametrize("group", GROUPS)
def test_base_config_shows_every_setting_with_its_default(group):
    config.parse([CONFIGS / "base.gin"])
    shown = {n: getattr(v, "target", v) for n, v in config.bound_values(group).items()}
    assert shown == {field.name: field.default for field in dataclasses.fields(group)}


RUNS = [path for path in CONFIGS.glob("*.gin") if "experiment." in path.read_text()]


@pytest.mark.parametrize("path", sorted(RUNS), ids=lambda path: path.stem)
def test_configs_bind_only_what_differs_from_base(path):
    draft = config.Draft.read([path])
    needed = re.findall(r"^(\w+) = %gin.REQUIRED", draft.text, re.MULTILINE)
    given = draft.overlaid([f"{name} = 'x'" for name in needed]).bindings()
    base = config.Draft.read([CONFIGS / "base.gin"]).bindings()
    said = re.findall(r"^experiment\.(\w+)", path.read_text(), re.MULTILINE)
    changed = {name.split(".")[1] for name, text in given.items() if base.get(name) != text}
    assert path.stem == "base" or {*said} <= changed


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.gin")), ids=lambda path: path.stem)
def test_config_starts_with_its_command_and_expected_result(path):
    head = path.read_text().split("\n\n")[0]
    assert f"--gin_file={path.relative_to(CONFIGS.parent)}" in head
    if path.parent.name not in ("strategies", "engines") and not path.stem.startswith("prepare_"):
        assert re.search(r"accuracy|error|BLEU", head)
    if path in RUNS:
        assert re.search(r"minute|time|took|accelerators", head)
