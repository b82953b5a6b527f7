"""Products of matrices stay on one core where they are told to, and judges' tools come without what judges never use."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from core.cores import one_core
from core.settings import PROJECT_ROOT

threadpoolctl = pytest.importorskip("threadpoolctl")


def cores() -> set[int]:
    return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}


def test_linear_algebra_keeps_to_one_core_and_gets_the_others_back() -> None:
    product = np.ones((50, 50)) @ np.ones((50, 50))
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        with one_core():
            assert cores() == {1}
            assert np.array_equal(np.ones((50, 50)) @ np.ones((50, 50)), product)
        assert cores() == {2}


def test_what_scipy_brings_keeps_to_one_core_too() -> None:
    program = (
        "import numpy as np\n"
        "from core.cores import one_core\n"
        "with one_core():\n    np.ones(3) @ np.ones(3)\n"
        "import scipy.linalg, threadpoolctl\n"
        "with one_core():\n    print([one['num_threads'] for one in threadpoolctl.threadpool_info() if one['user_api'] == 'blas'])\n"
    )
    threads = run(program)
    assert set(threads.strip("[] \n").split(", ")) == {"1"}


def test_scikit_learn_comes_without_pandas_and_pandas_can_still_be_had() -> None:
    program = (
        "import sys\n"
        "from core.judging.light import import_sklearn\n"
        "import_sklearn()\n"
        "print('sklearn' in sys.modules, 'pandas' in sys.modules)\n"
        "import pandas\n"
        "print(len(pandas.DataFrame({'a': [1, 2]})))\n"
        "import_sklearn()\n"
        "print(sys.modules['pandas'] is pandas)\n"
    )
    assert run(program).split() == ["True", "False", "2", "True"]


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True).stdout
