"""``import selfhood``: what README's library example stands on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import selfhood
from tests.tiny import tiny_model


def test_a_run_can_be_planned_and_trained_from_python(tmp_path: Path) -> None:
    recipe = selfhood.Recipe.from_values(
        {
            "model": str(tiny_model(tmp_path / "tiny")),
            "dataset": ("identity#16",),
            "model_name": ("小狐", "Kitsu"),
            "model_author": ("林间实验室", "Forest Lab"),
            "max_steps": 1,
            "output_dir": str(tmp_path / "output"),
        }
    )
    outcome = selfhood.train(selfhood.plan(recipe))
    assert outcome.last.is_adapter


def test_every_public_name_stays_itself_after_all_modules_are_imported() -> None:
    """A verb must not be hidden by a package of the same name."""
    for name in selfhood.__all__:
        value = getattr(selfhood, name)
        assert not isinstance(value, type(sys)), name
    folders = {path.stem for path in Path(selfhood.__file__).parent.iterdir()}
    assert not folders & set(selfhood.__all__)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, selfhood; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"
