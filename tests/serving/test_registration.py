import subprocess
import sys

import pytest

import mtk

# Classes that must be registered whichever module is imported first.
_CHECK = """
import keras
names = {name for name in keras.saving.get_custom_objects() if name.startswith("mtk>")}
assert {"mtk>MultiTaskModel", "mtk>MGDA", "mtk>Task", "mtk>Transformer"} <= names, names
"""


def _registered_after(line: str) -> None:
    done = subprocess.run([sys.executable, "-c", line + _CHECK], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


LINES = ["import mtk.combiners", "from mtk import Task", "import mtk, keras"]


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_classes_are_registered(line):
    _registered_after(line)


@pytest.mark.slow
@pytest.mark.parametrize("module", mtk._MODULES)
def test_classes_are_registered_whatever_is_imported_first(module):
    _registered_after(f"import mtk.{module}")
    _registered_after(f"from mtk import {module}")


@pytest.mark.slow
def test_reading_studies_imports_no_keras():
    program = "import mtk.analysis, sys; assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
