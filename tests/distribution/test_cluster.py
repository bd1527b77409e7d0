import json

import pytest

from mtk.distribution import Cluster, read_cluster

TWO = {"worker": ["a:1", "b:2"]}


def text(cluster, task):
    return json.dumps({"cluster": cluster, "task": task})


@pytest.mark.parametrize(
    ("cluster", "task", "expected"),
    [
        (TWO, {"type": "worker", "index": 0}, Cluster(("a:1", "b:2"), 0)),
        (TWO, {"type": "worker", "index": "1"}, Cluster(("a:1", "b:2"), 1)),
        ({"worker": ["[::1]:7"]}, {"type": "worker", "index": 0}, Cluster(("[::1]:7",), 0)),
        # The chief comes first, whatever the order in the JSON, and shifts the workers' indices.
        (
            {**TWO, "chief": ["c:3"]},
            {"type": "chief", "index": 0},
            Cluster(("c:3", "a:1", "b:2"), 0),
        ),
        (
            {**TWO, "chief": ["c:3"]},
            {"type": "worker", "index": 1},
            Cluster(("c:3", "a:1", "b:2"), 2),
        ),
        ({"worker": ["a:1"], "chief": []}, {"type": "worker", "index": 0}, Cluster(("a:1",), 0)),
    ],
)
def test_read_cluster(cluster, task, expected):
    assert read_cluster(text(cluster, task)) == expected


WORKER = {"type": "worker", "index": 0}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (None, "it is not set"),
        ("  ", "it is not set"),
        ("{'cluster': 1}", "not valid JSON, at character 1"),
        ("[]", "an object with 'cluster' and 'task'"),
        (text({}, WORKER), "must list the addresses"),
        (text({"worker": []}, WORKER), "must list the addresses"),
        (text({"worker": "a:1"}, WORKER), "must be a list"),
        (text({"worker": ["a"]}, WORKER), "lists 'a'"),
        (text({"worker": ["a:0"]}, WORKER), "lists 'a:0'"),
        (text({"worker": ["a:70000"]}, WORKER), "lists 'a:70000'"),
        (text({"worker": ["http://a:1"]}, WORKER), "lists 'http://a:1'"),
        (text({"worker": [1]}, WORKER), "lists 1"),
        (text({"worker": ["a:1", "b:1", "a:1"]}, WORKER), r"have the same address, \['a:1'\]"),
        (text({"worker": ["a:1"], "chief": ["a:1"]}, WORKER), r"have the same address, \['a:1'\]"),
        (text({"worker": ["a:1"], "chief": ["b:1", "c:1"]}, WORKER), "at most one chief"),
        (text({**TWO, "ps": ["c:3"]}, WORKER), r"not \['ps'\]"),
        (json.dumps({"cluster": TWO}), "its task must be one of"),
        (text(TWO, {"type": "chief", "index": 0}), "its task must be one of"),
        (text(TWO, {"type": "worker"}), "0 ... 1; it is None"),
        (text(TWO, {"type": "worker", "index": 2}), "0 ... 1; it is 2"),
        (text(TWO, {"type": "worker", "index": -1}), "0 ... 1; it is -1"),
        (text(TWO, {"type": "worker", "index": 0.5}), "0 ... 1; it is 0.5"),
    ],
)
def test_errors_name_the_problem_and_give_a_valid_example(given, problem):
    with pytest.raises(ValueError, match=problem) as caught:
        read_cluster(given)
    example = str(caught.value).split("TF_CONFIG='")[1].rstrip("'")
    assert read_cluster(example).index == 0
