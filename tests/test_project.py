"""The files that describe the project agree with each other, and the imports stay light."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import geoutils
from geoutils.artifacts import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NAME = re.compile(r"^[A-Za-z0-9._-]+")


def names(requirements: list[str]) -> set[str]:
    return {NAME.match(line)[0].lower().replace("_", "-").replace(".", "-") for line in requirements}


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = [line.partition(" ;")[0].split("==") for line in lines if "==" in line.partition(" ;")[0]]
    return {name.partition("[")[0].lower().replace("_", "-").replace(".", "-"): version for name, version in pinned}


def test_this_geoutils_is_ours():
    """Another distribution called geoutils is on PyPI."""
    assert geoutils.__file__ == str(ROOT / "geoutils" / "__init__.py")


def test_every_dependency_is_locked():
    groups = PYPROJECT["project"]["optional-dependencies"].values()
    wanted = names(PYPROJECT["project"]["dependencies"]) | set().union(*map(names, groups))
    assert wanted <= set(locked())


def test_the_lock_keeps_every_range():
    packaging = pytest.importorskip("packaging.requirements")
    for line in PYPROJECT["project"]["dependencies"]:
        requirement = packaging.Requirement(line)
        version = locked()[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(version), f"{line} against {version}"


def test_conda_takes_its_versions_from_pyproject():
    described = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = described["dependencies"]
    assert [part.partition("=")[0] for part in conda] == ["python", "pip"]  # all else comes from pyproject.toml
    assert pip == {"pip": ["-e .[dev]"]}
    assert described["name"] == PYPROJECT["project"]["name"]


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert geoutils.__version__ == PYPROJECT["project"]["version"] == citation["version"]


def test_every_dependency_has_its_reason_beside_it():
    text = (ROOT / "pyproject.toml").read_text()
    lines = re.findall(r'^    "([A-Za-z0-9._-]+)(?:\[[^]]*\])?[<>=].*$', text, flags=re.MULTILINE)
    bare = [line for line in text.splitlines() if re.match(r'    "[a-z0-9-]+[<>=]', line) and "#" not in line]
    assert lines
    assert not bare


@pytest.mark.parametrize(
    "module", ["geoutils", "geoutils.geo", "geoutils.tables", "geoutils.cities", "geoutils.sampling"]
)
def test_light_modules_load_neither_torch_nor_geopandas(module):
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'geopandas', 'matplotlib', 'folium'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_workflow_runs_what_ci_runs():
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    script = (ROOT / ".ci/run").read_text()
    for command in ("make test", "make run"):
        assert command in workflow
        assert command in script


def layers(folder: Path) -> subprocess.CompletedProcess:
    """Check the import contracts of pyproject.toml on the package in a folder."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", ROOT / "pyproject.toml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_room_imports_from_the_rooms_below_it_only():
    checked = layers(ROOT)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("geo.py", "import geoutils.tables"),  # upwards
        ("evaluation/accuracy.py", "from geoutils.readers import checks"),  # beside
        ("predictor.py", "from geoutils.world import generator"),  # for the command and notebooks only
        ("odds.py", "import os"),  # a room that stands nowhere
    ],
)
def test_an_import_in_a_wrong_direction_is_noticed(tmp_path, module, line):
    shutil.copytree(ROOT / "geoutils", tmp_path / "geoutils", ignore=shutil.ignore_patterns("__pycache__"))
    with open(tmp_path / "geoutils" / module, "a") as file:
        file.write(f"\n{line}\n")
    assert layers(tmp_path).returncode == 1


def test_evaluation_loads_no_torch():
    modules = [f"geoutils.evaluation.{path.stem}" for path in (ROOT / "geoutils/evaluation").glob("[!_]*.py")]
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert len(modules) >= 5
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_front_of_the_package_is_twelve_modules_and_files_are_short():
    front = {path.stem for path in (ROOT / "geoutils").glob("*.py")} - {"__init__", "__main__"}
    assert len(front) == 12
    longer = {"plots.py", "generator.py", "painter.py", "commons.py"}  # up to 290
    for path in (ROOT / "geoutils").rglob("*.py"):
        lines = path.read_text().count("\n")
        assert lines <= (290 if path.name in longer else 255), path


def test_readme_is_read_once():
    """At most 1,600 words, and no sentence of its prose over 30."""
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 1_600
    prose = re.sub(r"```.*?```|^(?:[|#!]|    ).*$", "", text, flags=re.DOTALL | re.MULTILINE)
    sentences = re.split(r"(?<=[.?!:;])\**\s|\n\n|\n- ", prose)
    assert [sentence for sentence in sentences if len(sentence.split()) > 30] == []
