"""Models and adapters come up without the libraries that no judge and no training uses."""

from __future__ import annotations

import subprocess
import sys

from core.settings import PROJECT_ROOT

CODE = """
import sys
from core.judging.transformers.light import import_transformers
import_transformers()
import peft, torch, training.finetune.trainer
from transformers import AutoModelForCausalLM
unwanted = ["sklearn", "scipy", "pandas"] + ([] if torch.cuda.is_available() else ["bitsandbytes"])
print([name for name in unwanted if sys.modules.get(name)])
import sklearn.metrics
print(sklearn.metrics.accuracy_score([1, 0], [1, 1]))
"""


def test_training_and_judging_load_no_scikit_learn_and_whoever_wants_it_gets_it() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == ["[]", "0.5"], done.stderr
