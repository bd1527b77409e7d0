import json

import pytest
from fake_engine import FakeEngine, finish

from mtk.study import StudyError

RATE = "experiment.Optimization.learning_rate"
RATES = [0.03, 0.1, 0.3]


def losses_by_rate(sweep, table):
    """Returns an engine whose runs have losses by learning rate."""
    rates = {run.hash: run.point[RATE] for run in sweep.runs}

    def outcome(folder, run, number):
        status, losses = table[rates.get(run, 0.1)]
        finish(folder, run, status, losses)
        seeds = {run.hash: run.seed for run in sweep.runs}
        away = rates.get(run, 0) + 0.01 * seeds.get(run, 0)
        weights = {"left": 0.5 + away, "right": 0.5 - away}
        lines = [
            {"step": step, "split": "train", "task": task, "name": "weight", "value": weight}
            for step in (2, 4)
            for task, weight in weights.items()
        ]
        log = sweep.folder.run_dir(run) / "metrics.jsonl"
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))

    return FakeEngine(outcome)


def listed(sweep):
    return json.loads(sweep.folder.list.read_text())["runs"]


WEIGHTS = "combiners.StaticWeights.weights"
WEIGHTINGS = [{"left": 0.3, "right": 0.7}, {"left": 0.6, "right": 0.4}]
ALPHAS = [0.5, 1.0, 1.5]


def two_stages(make_sweep, **changes):
    """A study of two weightings and three alphas at three learning rates, with two fresh seeds."""
    given = {
        "grid": {RATE: RATES},
        "method_grids": {
            "static_weights": {WEIGHTS: WEIGHTINGS},
            "gradnorm": {"combiners.GradNorm.alpha": ALPHAS},
        },
        "fresh_seeds": 2,
        "seeds": [0, 4],
    }
    return make_sweep(**{**given, **changes})


def by_point(sweep, losses, method=None):
    """Returns an engine whose losses are a function of the point and the seed of a run."""
    every = {run.hash: run for run in sweep.runs}

    def outcome(folder, run, number):
        status, values = losses(every[run]) if run in every else ("finished", (1.0, 1.0))
        finish(folder, run, status, values)
        if method and run in every:
            about = json.dumps({"method": method(every[run])})
            (sweep.folder.run_dir(run) / "manifest.json").write_text(about)

    return FakeEngine(outcome)


def measured(sweep):
    return [entry for entry in listed(sweep) if entry.get("stage") == "measure"]


def rising(run):
    """Returns losses that favour 0.1 for the first weighting and 0.3 for the second one."""
    if run.method == "gradnorm":
        alpha = run.point["combiners.GradNorm.alpha"]
        return "finished", (alpha + run.point[RATE], 2 - alpha + run.point[RATE])
    best = 0.1 if run.point[WEIGHTS] == WEIGHTINGS[0] else 0.3
    return "finished", (abs(run.point[RATE] - best), 0.5)


def test_selected_models_of_every_method_are_measured_with_fresh_seeds(make_sweep):
    sweep = two_stages(make_sweep)
    assert "15 runs" not in sweep.describe(1)
    engine = by_point(sweep, rising)
    assert sweep.go(engine) == 0
    again = measured(sweep)
    static = [e["bindings"] for e in again if e["method"] == "static_weights"]
    # For each weighting its best rate; of the method, its non-dominated models.
    assert static == [{RATE: rate, WEIGHTS: w} for rate, w in
                      ((0.1, WEIGHTINGS[0]), (0.3, WEIGHTINGS[1])) for _ in range(2)]  # fmt: skip
    own = [e["bindings"] for e in again if e["method"] == "gradnorm"]
    assert {b["combiners.GradNorm.alpha"] for b in own} == {*ALPHAS}
    assert {b[RATE] for b in own} == {0.03}
    assert {e["seed"] for e in again} == {5, 6}
    assert len(again) == 2 * (2 + 3)
    assert {e["stage"] for e in listed(sweep) if e["seed"] in (0, 4)} == {"select"}
    idle = FakeEngine()
    assert two_stages(make_sweep).go(idle) == 0
    assert idle.started == []


def test_at_most_five_non_dominated_models_are_measured(make_sweep):
    alphas = [0.1 * n for n in range(1, 10)]
    grids = {"gradnorm": {"combiners.GradNorm.alpha": alphas}}
    sweep = two_stages(make_sweep, method_grids=grids, grid={RATE: [0.1]}, fresh_seeds=1)

    def losses(run):
        alpha = run.point.get("combiners.GradNorm.alpha", 1.0)
        return "finished", (alpha, -alpha)

    assert sweep.go(by_point(sweep, losses)) == 0
    own = [e for e in measured(sweep) if e["method"] == "gradnorm"]
    chosen = sorted(e["bindings"]["combiners.GradNorm.alpha"] for e in own)
    assert len(chosen) == 5
    assert chosen[0] == pytest.approx(0.1)
    assert chosen[-1] == pytest.approx(0.9)


def test_recorded_result_decides_whether_a_method_is_static(make_sweep):
    """The recorded value decides, not the name; each static weighting has one best model."""
    sweep = two_stages(make_sweep, baseline=None)

    def static(run):
        weights = {"left": 0.5, "right": 0.5}
        return {"static": run.method == "gradnorm", "task_weights": weights}

    assert sweep.go(by_point(sweep, rising, static)) == 0
    again = measured(sweep)
    assert sum(e["method"] == "gradnorm" for e in again) == 2 * 1
    assert sum(e["method"] == "static_weights" for e in again) == 2 * 2


def test_untrained_tasks_do_not_count_in_selection(make_sweep):
    """Longer training of a single task makes the untrained heads of the others worse."""
    alone = {"left": 1.0, "right": 0.0}
    grids = {"static_weights": {WEIGHTS: [*WEIGHTINGS, alone]}}
    sweep = two_stages(make_sweep, method_grids=grids)

    def losses(run):
        is_alone, rate = run.point.get(WEIGHTS) == alone, run.point[RATE]
        return "finished", ((1 - rate, 9 * rate) if is_alone else (rate, rate))

    def method(run):
        return {"static": WEIGHTS in run.point, "task_weights": run.point.get(WEIGHTS)}

    assert sweep.go(by_point(sweep, losses, method)) == 0
    static = [e["bindings"] for e in measured(sweep) if e["method"] == "static_weights"]
    found = {str(bindings[WEIGHTS]): bindings[RATE] for bindings in static}
    assert found == {str(alone): 0.3, **{str(each): 0.03 for each in WEIGHTINGS}}


def test_model_that_diverged_with_one_seed_is_not_selected(make_sweep):
    def losses(run):
        status, values = rising(run)
        lost = run.method == "static_weights" and run.seed == 4 and run.point[RATE] == 0.1
        return ("diverged" if lost else status), values

    sweep = two_stages(make_sweep)
    assert sweep.go(by_point(sweep, losses)) == 0
    static = [e["bindings"] for e in measured(sweep) if e["method"] == "static_weights"]
    assert all(b[RATE] != 0.1 for b in static)
    assert len(static) == 2 * 2


def test_method_without_a_finished_run_has_no_second_stage(make_sweep):
    sweep = make_sweep(fresh_seeds=1)
    table = {0.1: ("diverged", (0.1, 0.1)), 0.3: ("finished", (None, 1.0))}
    assert sweep.go(losses_by_rate(sweep, table)) == 0
    assert all(entry["seed"] == 0 for entry in listed(sweep))


# Losses by learning rate; the last are worse than the second in both tasks.
TRADE_OFF = {
    0.03: ("finished", (0.2, 0.9)),
    0.1: ("finished", (0.5, 0.5)),
    0.3: ("finished", (0.6, 0.9)),
}


def test_replays_use_the_mean_weights_of_the_selected_models(make_sweep):
    own = {"gradnorm": {"combiners.GradNorm.alpha": [1.0]}}
    sweep = make_sweep(grid={RATE: RATES}, method_grids=own, seeds=[4, 8])
    assert sweep.go(losses_by_rate(sweep, TRADE_OFF), replay=True) == 0
    replays = [entry for entry in listed(sweep) if entry.get("role") == "replay"]
    assert [entry["method"] for entry in replays] == ["gradnorm (replayed)"] * 4
    assert [entry["seed"] for entry in replays] == [4, 8, 4, 8]
    for entry, rate in zip(replays, (0.03, 0.03, 0.1, 0.1), strict=True):
        away = rate + 0.01 * (4 + 8) / 2
        weights = {"left": pytest.approx(0.5 + away), "right": pytest.approx(0.5 - away)}
        assert entry["bindings"] == {RATE: rate, "combiners.StaticWeights.weights": weights}
        text = sweep.folder.config(entry["hash"]).read_text()
        assert "combiner = @combiners.StaticWeights" in text
    # Without the flag they stay in the list.
    assert make_sweep(grid={RATE: RATES}, method_grids=own, seeds=[4, 8]).go(FakeEngine()) == 0
    assert [entry for entry in listed(sweep) if entry.get("role") == "replay"] == replays


def test_replays_are_measured_with_fresh_seeds(make_sweep):
    own = {"gradnorm": {"combiners.GradNorm.alpha": [1.0]}}
    sweep = make_sweep(grid={RATE: RATES}, method_grids=own, fresh_seeds=2)
    assert sweep.go(losses_by_rate(sweep, TRADE_OFF), replay=True) == 0
    replays = [entry for entry in listed(sweep) if entry.get("role") == "replay"]
    assert {(e["seed"], e["stage"]) for e in replays} == {
        (0, "select"), (1, "measure"), (2, "measure")
    }  # fmt: skip
    assert {e["bindings"][RATE] for e in replays} == {0.03, 0.1}


def test_replay_needs_a_baseline(make_sweep):
    engine = FakeEngine()
    with pytest.raises(StudyError, match="Set `baseline` of the study"):
        make_sweep(baseline=None).go(engine, replay=True)
    assert engine.started == []


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("combiners.StaticWeights.weight", "Did you mean 'weights'"),
        ("combiners.GradNorm.alpha", "must be float"),
    ],
)
def test_invalid_weights_parameter_raises_before_any_run(make_sweep, weights, message):
    engine = FakeEngine()
    with pytest.raises(StudyError, match=message):
        make_sweep(weights=weights).go(engine, replay=True)
    assert engine.started == []


def test_replay_of_a_method_without_weights_is_reported(make_sweep, capsys):
    def outcome(folder, run, number):
        finish(folder, run)
        (sweep.folder.run_dir(run) / "metrics.jsonl").write_text("")

    methods = {"static_weights": "combiners/static_weights.gin", "mgda": "combiners/mgda.gin"}
    sweep = make_sweep(methods=methods)
    assert sweep.go(FakeEngine(outcome), replay=True) == 0
    assert "mgda cannot be replayed" in capsys.readouterr().err


def test_replay_equal_to_a_run_of_the_grid_is_not_added(make_sweep, capsys):
    """The method's mean weights are those of a run with static weights."""
    weights = {"left": 0.6, "right": 0.4}
    grid = {RATE: [0.1], "combiners.StaticWeights.weights": [weights, {"left": 1, "right": 0}]}
    changes = {"grid": {RATE: [0.1]}, "method_grids": {"static_weights": grid}}
    sweep = make_sweep(**changes)

    def outcome(folder, run, number):
        finish(folder, run)
        lines = [
            {"step": 1, "split": "train", "task": task, "name": "weight", "value": value}
            for task, value in weights.items()
        ]
        log = sweep.folder.run_dir(run) / "metrics.jsonl"
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))

    assert sweep.go(FakeEngine(outcome), replay=True) == 0
    assert [entry["method"] for entry in listed(sweep)] == ["static_weights"] * 2 + ["gradnorm"]
    assert not any("role" in entry for entry in listed(sweep))
    said = capsys.readouterr().err
    assert "1 run is equal to another one" in said
    assert "gradnorm (replayed)" in said


def test_method_with_two_names_is_measured_once(make_sweep, capsys):
    gradnorm = "combiners/gradnorm.gin"
    methods = {"static_weights": "combiners/static_weights.gin", "a": gradnorm, "b": gradnorm}
    sweep = make_sweep(methods=methods, fresh_seeds=1)
    assert sweep.go(FakeEngine()) == 0
    assert {e["method"] for e in measured(sweep)} == {"static_weights", "a"}
    assert "2 runs are equal to other runs" in capsys.readouterr().err


def test_dry_run_shows_both_stages(make_sweep):
    sweep = two_stages(make_sweep, run_minutes=1.0, seeds=[0])
    text = sweep.describe(slots=1)
    # 2 weightings and 5 of 9 models, with two seeds each.
    assert "15 runs and at most 14 more (15 pending)" in text
    assert "2 fresh seeds: at most 14" in text
    assert "29:00" in text
    assert sweep.go(by_point(sweep, rising)) == 0
    text = two_stages(make_sweep, run_minutes=1.0, seeds=[0]).describe(slots=1)
    assert "small: 25 runs (25 finished)" in text
    assert "fresh seeds" not in text
    assert "estimated time: 0:00" in text


def said(name, direction, value, first=None):
    more = {"first": first} if first else {}
    return {"monitor": {"name": name, "direction": direction, "value": value, **more}}


def engine_with_monitors(sweep, table):
    """Returns an engine whose runs have losses and a monitor by learning rate."""
    rates = {run.hash: run.point[RATE] for run in sweep.runs}

    def outcome(folder, run, number):
        losses, about = table[rates.get(run, 0.1)]
        finish(folder, run, losses=losses)
        path = sweep.folder.run_dir(run) / "result.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **about}))

    return FakeEngine(outcome)


MONITORED = {
    "the mean": (0.03, [said("mean_loss", "min", value) for value in (0.2, 0.3, 0.4)]),
    "a metric": (0.3, [said("left_accuracy", "max", value) for value in (0.2, 0.3, 0.4)]),
    "a mean of metrics": (0.1, [said("mean(a, b)", "min", value) for value in (0.2, -0.3, 0.4)]),
    "relative losses": (
        0.1,
        [
            said("relative_loss", "min", 0.1, {"left": 90.0, "right": 9.0}),
            said("relative_loss", "min", 0.9, {"left": 1.0, "right": 0.1}),
            said("relative_loss", "min", 0.5, {"left": 5.0, "right": 0.9}),
        ],
    ),
    "no number": (0.3, [said("a_auc", "max", None), said("a_auc", "max", 0.1),
                        said("a_auc", "max", 0.2)]),
}  # fmt: skip
# By their mean, the third would be the best.
LOSSES = [(9.0, 0.9), (0.9, 0.09), (0.2, 0.5)]


@pytest.mark.parametrize("kind", MONITORED)
def test_best_is_chosen_by_the_monitor(make_sweep, kind):
    expected, monitors = MONITORED[kind]
    sweep = make_sweep(grid={RATE: RATES}, fresh_seeds=1)
    table = dict(zip(RATES, zip(LOSSES, monitors, strict=True), strict=True))
    assert sweep.go(engine_with_monitors(sweep, table)) == 0
    more = [e["bindings"][RATE] for e in measured(sweep) if e["method"] == "static_weights"]
    if kind == "relative losses":
        units = [(90 * 1 * 5) ** (1 / 3), (9 * 0.1 * 0.9) ** (1 / 3)]
        means = [sum(x / u for x, u in zip(own, units, strict=True)) for own in LOSSES]
        expected = RATES[means.index(min(means))]
    assert more == [expected]


def test_selection_among_different_monitors_raises(make_sweep):
    sweep = make_sweep(grid={RATE: RATES}, fresh_seeds=1)
    monitors = [said("mean_loss", "min", 0.2), said("left_accuracy", "max", 0.9), {}]
    table = dict(zip(RATES, zip(LOSSES, monitors, strict=True), strict=True))
    with pytest.raises(StudyError, match="'mean_loss'.*'left_accuracy'"):
        sweep.go(engine_with_monitors(sweep, table))


def test_results_without_a_monitor_count_as_mean_loss(make_sweep):
    sweep = make_sweep(grid={RATE: RATES}, fresh_seeds=1)
    monitors = [said("mean_loss", "min", 4.95), {}, {}]
    table = dict(zip(RATES, zip(LOSSES, monitors, strict=True), strict=True))
    assert sweep.go(engine_with_monitors(sweep, table)) == 0
    more = [e["bindings"][RATE] for e in measured(sweep) if e["method"] == "static_weights"]
    assert more == [0.3]


@pytest.mark.parametrize("given", [-1, 1.5, True, (1, 2)])
def test_invalid_fresh_seeds_raise(make_study, given):
    with pytest.raises(StudyError, match="fresh_seeds"):
        make_study(fresh_seeds=given)
