import itertools
import re
from pathlib import Path

import pytest

from mtk import config
from mtk.ratios import Ratios
from mtk.study import Grid, StudyError
from mtk.study.grid import distinct, points
from mtk.study.spec import bindings

CONFIGS = Path(__file__).parents[2] / "configs"


def expand(study):
    return Grid(study, [CONFIGS]).runs()


def hashes(study):
    return [run.hash for run in expand(study)]


def test_grid_is_the_product_of_its_axes():
    axes = [("a", [1, 2]), (("b", "c"), [(3, 4), (5, 6)]), ("d", [7])]
    assert list(points(axes)) == [
        {"a": a, "b": b, "c": c, "d": 7} for a in (1, 2) for b, c in ((3, 4), (5, 6))
    ]


def test_every_method_is_combined_with_every_point_and_seed(make_study):
    alphas = [0.5, 1.0, 1.5]
    own = {"gradnorm": {"combiners.GradNorm.alpha": alphas}}
    runs = expand(make_study(method_grids=own, seeds=[3, 4]))
    found = [(run.method, run.seed, *run.point.values()) for run in runs]
    static = itertools.product(["static_weights"], (0.1, 0.3), (3, 4))
    gradnorm = itertools.product(["gradnorm"], alphas, (0.1, 0.3), (3, 4))
    assert sorted(found) == sorted(
        [(m, s, r) for m, r, s in static] + [(m, s, a, r) for m, a, r, s in gradnorm]
    )
    assert len({run.hash for run in runs}) == len(runs) == 4 + 12


def test_axis_of_a_method_replaces_the_common_one(make_study):
    rate = "experiment.Optimization.learning_rate"
    runs = expand(make_study(method_grids={"gradnorm": {rate: [0.5]}}))
    assert [run.point[rate] for run in runs if run.method == "gradnorm"] == [0.5]
    assert [run.point[rate] for run in runs if run.method != "gradnorm"] == [0.1, 0.3]


def test_text_of_a_run_is_a_complete_configuration(make_study):
    settings = {
        "experiment.Optimization.optimizer": "@keras.optimizers.Adam",
        "multi_digits.MultiDigits.channels": (4, 4),
    }
    for run in expand(make_study(settings=settings)):
        alone = "\n".join(line for line in run.text.splitlines() if not line.startswith("#"))
        draft = config.Draft().overlaid([alone])
        draft.finish()
        found = draft.bindings()
        assert found["experiment.Optimization.optimizer"] == "@keras.optimizers.Adam"
        assert found["multi_digits.MultiDigits.channels"] == "(4, 4)"
        rate = run.point["experiment.Optimization.learning_rate"]
        assert found["experiment.Optimization.learning_rate"] == repr(rate)


def test_hash_depends_on_values_and_not_on_their_text(make_study, tmp_path):
    before = hashes(make_study())
    text = (CONFIGS / "multi_digits.gin").read_text()
    in_other_words = text.replace("    learning_rate = 0.1\n", "").replace("# ", "# Note: ")
    (tmp_path / "other.gin").write_text(
        in_other_words + "\nexperiment.Optimization.learning_rate = 7.0\n"
    )
    again = make_study(configs=[str(tmp_path / "other.gin")], name="renamed")
    assert hashes(again) == before


SAME = [
    ("combiners.StaticWeights.weights", [1, 1], (0.5, 0.5)),
    ("combiners.StaticWeights.weights", [1, 1], {"left": 2.0, "right": 2}),
    ("combiners.StaticWeights.weights", None, {"left": 0.1, "right": 0.1}),
    ("combiners.StaticWeights.weights", [1, 3], [0.25, 0.75]),
    ("combiners.StaticWeights.weights", {"left": 1, "right": 9}, {"right": 0.9, "left": 0.1}),
    ("experiment.Optimization.learning_rate", 1, 1.0),
    ("experiment.Optimization.weight_decay", 0, 0.0),
    ("experiment.Optimization.clip_norm", 3, 3.0),
    ("multi_digits.MultiDigits.channels", [4, 4], (4, 4)),
    ("experiment.Sharing.shared", ["a"], ("a",)),
]
DIFFERENT = [
    ("combiners.StaticWeights.weights", [1, 3], [3, 1]),
    ("combiners.StaticWeights.weights", [1, 3], [1, 3.0001]),
    # Ambiguous: the order of tasks is unknown.
    ("combiners.StaticWeights.weights", [1, 3], {"left": 1, "right": 3}),
    ("experiment.Optimization.clip_norm", 3, None),
    ("experiment.Training.evaluate_every", 1, 2),
]


@pytest.mark.parametrize(("name", "one", "other"), [*SAME, *DIFFERENT])
def test_equivalent_values_have_equal_hashes(make_study, name, one, other):
    found = [hashes(make_study(grid={}, settings={name: value})) for value in (one, other)]
    assert (found[0] == found[1]) == ((name, one, other) in SAME)


def test_equal_ratios_differ_from_none_for_batch_shares():
    rates = Ratios(none_is_equal=False)
    assert rates.canonical([1, 1]) == rates.canonical([0.5, 0.5]) == (0.5, 0.5)
    assert rates.canonical(None) is None
    for wrong in ("equal", [-1, 2], [0, 0], [], {}, [float("inf"), 1], ["a"]):
        assert Ratios().canonical(wrong) == wrong


@pytest.mark.parametrize(
    "settings",
    [
        {"experiment.Optimization.batch_size": 255},
        {"multi_digits.MultiDigits.dropout": 0.2},
        {"experiment.Optimization.weight_decay": 1e-9},
        {"experiment.Optimization.schedule": None},
        {"combiners.StaticWeights.name": "other"},
    ],
)
def test_every_binding_changes_the_hash(make_study, settings):
    assert not {*hashes(make_study())} & {*hashes(make_study(settings=settings))}


def test_additions_to_a_study_keep_existing_hashes(make_study):
    before = hashes(make_study())
    more = {"experiment.Optimization.learning_rate": [0.03, 0.1, 0.3]}
    methods = {**make_study().methods, "pcgrad": "combiners/pcgrad.gin"}
    after = hashes(make_study(grid=more, methods=methods, seeds=(1, 0)))
    assert {*before} < {*after}
    assert len(after) == 3 * 3 * 2


def test_equal_runs_are_merged(make_study):
    methods = {**make_study().methods, "gradnorm again": "combiners/gradnorm.gin"}
    rates = {"experiment.Optimization.learning_rate": [0.1, 0.1, 1e-1]}
    once, again = distinct(expand(make_study(methods=methods, grid=rates)))
    assert [run.method for run in once] == ["static_weights", "gradnorm"]
    assert len(again) == 7
    assert all(run.hash == first.hash for run, first in again)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": {"experiment.Optimization.learning_rat": [0.1]}}, "Did you mean 'learning_rate'"),
        ({"grid": {"sed": [0.1]}}, "Did you mean 'seed'"),
        ({"grid": {"experiment.Optimization.learning_rate": [0.1, "fast"]}}, "must be float"),
        ({"method_grids": {"gradnorm": {"combiners.GradNorm.alfa": [1]}}}, "Did you mean 'alpha'"),
        ({"settings": {"multi_digit.MultiDigits.dropout": 1}}, "Did you mean 'multi_digits'"),
        ({"settings": {"experiment.Optimization.optimizer": "@keras.optimizers.Adan"}}, "'Adam"),
        (
            {"settings": {"experiment.Optimization.optimizer": print}},
            "Write a reference as a string",
        ),
        ({"methods": {"a": "combiners/pcgard.gin"}, "baseline": None}, "pcgard.gin"),
        ({"methods": {}, "baseline": None}, "no methods"),
        ({"seeds": []}, "no seeds"),
        ({"baseline": "static"}, "'static' is not a method of the study"),
        ({"method_grids": {"gradnrm": {}}}, "'gradnrm' is not a method of the study"),
        ({"grid": {"experiment.Optimization.learning_rate": []}}, "needs a list of values"),
        ({"grid": {"experiment.Optimization.learning_rate": "0.1"}}, "needs a list of values"),
        ({"grid": {("seed", "evaluate_every"): [(1, 2), (3,)]}}, r"tuple of 2. Received: \(3,\)"),
        ({"fresh_seeds": [1, 0]}, "`fresh_seeds` must be a number"),
        (
            {"settings": {"experiment.Optimization.learning_rate": 0.1}},
            "and the study's settings both set .*learning_rate",
        ),
        ({"settings": {"seed": 1}}, "'seed'"),
        ({"grid": {"experiment.Training.seed": [1]}}, "'experiment.Training.seed'"),
        ({"method_grids": {"gradnorm": {("seed", "evaluate_every"): [(1, 2)]}}}, "'seed'"),
        (
            {
                "grid": {
                    "experiment.Optimization.learning_rate": [0.1],
                    ("experiment.Optimization.learning_rate", "evaluate_every"): [(0.2, 3)],
                }
            },
            "learning_rate",
        ),
        ({"grid": {"experiment.Optimization.learning_rate": [0.1, -0.1]}}, r"learning_rate=-0\.1"),
        ({"seeds": [0, -1]}, "0 or more.*-1"),
        ({"settings": {"experiment.Training.steps": 3}}, "epochs=30, steps=3"),
        ({"settings": {"experiment.Logging.log_every": 0}}, "log_every=0"),
        ({"settings": {"experiment.Numerics.precision": "float8"}}, "'float8'"),
        (
            {"grid": {"combiners.StaticWeights.weights": [[1, 2], {"left": 1, "right": 2}]}},
            "as dicts",
        ),
    ],
)
def test_invalid_study_raises_before_the_first_run(make_study, changes, message):
    with pytest.raises(StudyError, match=message):
        expand(make_study(**changes))


def test_unread_parameter_is_reported(make_study):
    alphas = {"combiners.GradNorm.alpha": [0.5, 1.0]}
    said = Grid(make_study(method_grids={"static_weights": alphas}), [CONFIGS]).unread()
    assert said == [
        "static_weights does not read combiners.GradNorm.alpha, so its runs are the same "
        "for every value."
    ]
    sizes = {"multi_digits.MultiDigits.channels": [(4, 4)], ("experiment.Training.epochs",): [(1,)]}
    read = make_study(method_grids={"gradnorm": {**alphas, **sizes}})
    assert not Grid(read, [CONFIGS]).unread()


def test_error_names_the_place_in_the_study(make_study):
    with pytest.raises(StudyError, match="grid of static_weights, line 1.*\n.*'small'"):
        expand(make_study(grid={"experiment.Optimization.learning_rat": [0.1]}))


def test_bindings_round_trip_through_gin(tmp_path):
    values = [None, True, -3, 1e-30, "it's", [1, (2,)], {"a": [0.5, None]}, (), "@seed", "%seed"]
    written = bindings({f"name{i}": value for i, value in enumerate(values)})
    for line, value in zip(written, values, strict=True):
        text = re.fullmatch(r"name\d+ = (.*)", line)[1]
        reference = isinstance(value, str) and value[0] in "@%"
        assert text == value if reference else eval(text) == value


def test_hash_does_not_depend_on_pauses(make_study):
    paused = {"experiment.Checkpoints.pause_at": 100, "experiment.Checkpoints.keep_pauses": True}
    assert hashes(make_study(settings=paused)) == hashes(make_study())
    branched = {"experiment.Checkpoints.branch_from": ("another", 100)}
    assert not set(hashes(make_study(settings=branched))) & set(hashes(make_study()))
