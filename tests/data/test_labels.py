import numpy as np
import pytest

from mtk.data.labels import require_labels

NAN = float("nan")


@pytest.mark.parametrize(
    ("labels", "mask", "missing"),
    [
        (np.zeros(3), None, None),
        (np.zeros(3), np.array([0, 1, 0]), None),
        (np.array([-1, -1, 2]), None, -1),
        (np.array([NAN, 1.0]), None, NAN),
        (np.array([[NAN, NAN], [NAN, 1.0]]), np.array([0, 1]), NAN),
        (np.array([[255, 3], [255, 255]]), np.array([[0, 1], [1, 1]]), 255),
    ],
)
def test_one_label_per_task_is_sufficient(labels, mask, missing):
    masks = {} if mask is None else {"a": mask}
    require_labels({"a": labels}, masks, {"a": missing})


@pytest.mark.parametrize(
    ("labels", "mask", "missing"),
    [
        (np.zeros(0), None, None),
        (np.zeros(3), np.zeros(3), None),
        (np.array([-1, -1]), None, -1),
        (np.array([NAN, NAN]), None, NAN),
        (np.array([[NAN, NAN], [NAN, 1.0]]), np.array([1, 0]), NAN),
        (np.array([[255, 3], [255, 255]]), np.array([[1, 0], [1, 1]]), 255),
    ],
)
def test_task_without_labels_raises(labels, mask, missing):
    masks = {} if mask is None else {"b": mask}
    with pytest.raises(ValueError, match=r"has a label for: b\. Leave these tasks out"):
        require_labels({"a": np.ones(2), "b": labels}, masks, {"b": missing})


def test_error_names_all_tasks_without_labels():
    with pytest.raises(ValueError, match="for: a, c"):
        require_labels({"a": np.ones(0), "b": np.ones(2), "c": np.ones(0)})
