"""Profiles: what is wrong is refused before any work; a failed run says where and goes on from there."""

import shutil

import nbformat
import pytest

from geoutils import pipeline
from geoutils.artifacts import ROOT, read_json


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """Two notebooks: the first writes a file, the second fails unless told not to."""
    monkeypatch.setattr(pipeline, "NOTEBOOKS", tmp_path / "notebooks")
    (tmp_path / "notebooks").mkdir()
    sources = {
        "01_a": ["run_dir = ''\nnumber = 1", "open(f'{run_dir}/count.txt', 'a').write('x' * number)"],
        "02_b": ["run_dir = ''\nfail = True", "if fail:\n    raise ValueError('seven is no city')"],
    }
    for name, cells in sources.items():
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "x", "language": "python"}
        notebook.cells[0].metadata["tags"] = ["parameters"]
        nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")
    (tmp_path / "p.yaml").write_text("name: p\nnotebooks: [{notebook: 01_a}, {notebook: 02_b}]\n")

    def read(*settings: str) -> pipeline.Profile:
        return pipeline.read_profile(tmp_path / "p.yaml", settings=settings, run_dir=tmp_path / "run")

    return read


def test_failing_cell_ends_the_run_with_its_error_and_the_next_run_goes_on_from_there(profile, tmp_path):
    with pytest.raises(pipeline.NotebookError, match="seven is no city"):
        pipeline.run(profile())
    assert (tmp_path / "run/notebooks/02_b.html").exists()
    page = pipeline.run(profile("02_b.fail=false"))
    assert (tmp_path / "run/count.txt").read_text() == "x"  # the first notebook ran once
    assert page.exists()
    assert read_json(tmp_path / "run/state.json")["complete"]


def test_a_cell_that_leaves_its_notebook_is_no_success(profile, tmp_path):
    notebook = nbformat.read(tmp_path / "notebooks/01_a.ipynb", as_version=4)
    notebook.cells[1].source = "import sys\nsys.exit(0)"
    nbformat.write(notebook, tmp_path / "notebooks/01_a.ipynb")
    with pytest.raises(pipeline.NotebookError, match="a cell left it before its end"):
        pipeline.run(profile())


def test_a_notebook_that_can_not_start_says_why(profile, tmp_path):
    notebook = nbformat.read(tmp_path / "notebooks/01_a.ipynb", as_version=4)
    notebook.metadata.clear()
    nbformat.write(notebook, tmp_path / "notebooks/01_a.ipynb")
    with pytest.raises(ValueError, match="found in notebook"):
        pipeline.run(profile())


def test_changed_parameter_runs_again_from_that_notebook_on(profile, tmp_path):
    with pytest.raises(pipeline.NotebookError):
        pipeline.run(profile())
    with pytest.raises(pipeline.NotebookError):
        pipeline.run(profile("01_a.number=3"))
    assert (tmp_path / "run/count.txt").read_text() == "xxxx"


def test_finished_run_starts_over_without_the_figures_of_the_one_before(profile, tmp_path):
    pipeline.run(profile("02_b.fail=false"))
    (tmp_path / "run/figures").mkdir()
    (tmp_path / "run/figures/old.png").touch()
    (tmp_path / "run/features").mkdir()
    pipeline.run(profile("02_b.fail=false"))
    assert not (tmp_path / "run/figures/old.png").exists()
    assert (tmp_path / "run/features").exists()  # costly, and keyed by its content


def test_a_profile_of_later_notebooks_adds_to_a_finished_run(profile, tmp_path):
    pipeline.run(profile("02_b.fail=false"))
    (tmp_path / "run/predictions").mkdir()
    (tmp_path / "run/predictions/old.txt").touch()
    (tmp_path / "later.yaml").write_text("name: later\nnotebooks: [{notebook: 02_b, parameters: {fail: false}}]\n")
    pipeline.run(pipeline.read_profile(tmp_path / "later.yaml", run_dir=tmp_path / "run"))
    assert (tmp_path / "run/predictions/old.txt").exists()
    assert list(read_json(tmp_path / "run/state.json")["done"]) == ["01_a", "02_b"]
    pipeline.run(profile("02_b.fail=false"))  # from the first notebook on it still starts over
    assert not (tmp_path / "run/predictions/old.txt").exists()


def test_photos_that_were_added_are_read(tmp_path):
    """A run that failed for want of photos must not go on after the notebook that reads them."""
    profile = pipeline.read_profile(ROOT / "profiles/own.yaml", settings=[f"01_photos.photos={tmp_path}"])
    before = pipeline._inputs(profile)
    (tmp_path / "new.jpg").touch()
    assert pipeline._inputs(profile) != before


@pytest.mark.parametrize("changed", ["readers/__init__.py", "views/__init__.py", "views/templates/base.html"])
def test_a_change_of_any_file_of_the_package_is_noticed(tmp_path, monkeypatch, changed):
    package = shutil.copytree(ROOT / "geoutils", tmp_path / "geoutils")
    monkeypatch.setattr(pipeline, "PACKAGE", package)
    before = pipeline._package_files()
    (package / changed).write_text("another")
    assert pipeline._package_files() != before


def test_the_repository_is_no_run_folder():
    with pytest.raises(ValueError, match="folder of its own"):
        pipeline.read_profile(ROOT / "profiles/sample.yaml", run_dir=ROOT)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", "is no YAML"),
        ("- 1", "list"),
        ("name: x", "notebooks\n  Field required"),
        ("name: x\nnotebooks: []", "at least 1 item"),
        ("name: x\nnotebooks: [{notebook: 01_a, paramters: {}}]", "notebooks.0.paramters"),
        ("name: x\nnotebooks: [{notebook: 01_a}]\nrequires: {file: {}}", "requires.file"),
        ("name: x\nnotebooks: [{notebook: 01_a}]\ntimeout_hours: 0", "timeout_hours\n.*greater than 0"),
        ("name: x\nnotebooks: [{notebook: 01_a}]\nrun_dir: y", "run_dir"),
        ("name: x\nnotebooks: [{notebook: 01_a}, {notebook: 01_a}]", r"several steps are called \['01_a'\]"),
    ],
)
def test_what_is_no_profile_is_refused_with_its_name(tmp_path, text, words):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"(?s)p\.yaml is no .*{words}|p\.yaml {words}"):
        pipeline.read_profile(tmp_path / "p.yaml")


def test_a_key_without_a_value_counts_as_left_out(profile, tmp_path):
    (tmp_path / "p.yaml").write_text("name: p\nnotebooks: [{notebook: 01_a, parameters: }]\nrequires:\n")
    assert profile().steps == [pipeline.Step(notebook="01_a", name="01_a", parameters={})]


@pytest.mark.parametrize("path", ["2019", "2019-07-21", "no", "a #1/x", "~"])
def test_a_path_is_taken_as_it_is_written(path):
    profile = pipeline.read_profile(ROOT / "profiles/own.yaml", settings=[f"01_photos.photos={path}"])
    assert profile.steps[0].parameters["photos"] == path


@pytest.mark.parametrize("setting", ["01_a.nummer=2", "03_c.number=2", "number=2", "01_a.number"])
def test_unknown_parameter_or_step_is_refused_before_any_work(profile, tmp_path, setting):
    with pytest.raises(ValueError, match=r"number|01_a"):
        profile(setting)
    assert not (tmp_path / "run").exists()


def test_missing_profile_names_those_there_are(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"sample\.yaml"):
        pipeline.read_profile(ROOT / "profiles" / "nothing.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_sets_only_parameters_that_its_notebooks_have(path):
    assert pipeline.read_profile(path).steps
