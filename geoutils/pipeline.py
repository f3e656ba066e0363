"""Run a profile's notebooks headless, in order, and turn them into pages."""

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import papermill
import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, field_validator, model_validator

from geoutils.artifacts import ROOT, content_key, file_sha256, read_json, under_root, write_json
from geoutils.views.pages import export_html
from geoutils.views.report import write_report

NOTEBOOKS, PACKAGE = ROOT / "notebooks", ROOT / "geoutils"
CELL_TIMEOUT_HOURS = 6  # unless the profile states `timeout_hours`
PATHS = ("photos", "image_root", "boundaries", "photo")  # parameters whose values are text, even 2019 or no
# what a run that starts over draws anew
OUTPUT_FOLDERS = ("predictions", "results", "figures", "maps", "ledger", "notebooks")


class _Part(BaseModel):
    """A part of a profile's file. A key that means nothing is an error; one without a value counts as left out."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, content: Any) -> Any:
        return {k: v for k, v in content.items() if v is not None} if isinstance(content, dict) else content


class Step(_Part):
    """One notebook of a profile: the `notebook` run, the `name` of its output, its `parameters`."""

    notebook: str
    name: str = Field(default_factory=lambda step: step.get("notebook", ""))
    parameters: dict[str, Any] = {}


class Requirements(_Part):
    """What must be there before any work: `weights` of these networks, and `files`, each a STEP.PARAMETER that holds
    the path, with a hint on how to get it."""

    files: dict[str, str] = {}
    weights: list[str] = []


class Profile(_Part):
    """A named experiment: its `steps` in order (`notebooks` in the file), what it `requires`, the hours that a cell may
    take, and `run_dir`, the folder of the run, which `read_profile` sets."""

    name: str
    steps: list[Step] = Field(alias="notebooks", min_length=1)
    requires: Requirements = Requirements()
    timeout_hours: PositiveFloat = CELL_TIMEOUT_HOURS
    _run_dir: Path

    @property
    def run_dir(self) -> Path:
        return self._run_dir

    @field_validator("steps")
    @classmethod
    def _refuse_doubles(cls, steps: list[Step]) -> list[Step]:
        names = [step.name for step in steps]
        if doubles := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"several steps are called {doubles}; give each its own `name`")
        return steps


class NotebookError(RuntimeError):
    """A cell of a notebook failed; the message shows the cell and its error."""


def read_profile(path: Path, *, settings: Sequence[str] = (), run_dir: Path | None = None) -> Profile:
    """Read a profile and apply settings to it.

    Args:
        path: YAML with `name`, optional `requires` and `timeout_hours`, and `notebooks`, a list of `notebook`,
            optional `name` and `parameters`.
        settings: "NAME.PARAMETER=VALUE", the value in YAML; that of a parameter among `PATHS` as it is.
        run_dir: the folder to write; by default runs/<profile name> under the repository's root.

    Raises:
        FileNotFoundError: if there is no such file, naming those that there are.
        ValueError: for a notebook or parameter that does not exist, naming those that do; for what is no profile.
    """
    profile = _load(Path(path))
    for setting in settings:
        _apply(setting, {step.name: step.parameters for step in profile.steps})
    for step in profile.steps:
        _refuse_unknown(step)
    usual = ROOT / "runs" / profile.name
    profile._run_dir = Path(run_dir or usual).resolve()
    if profile.run_dir in (ROOT, *ROOT.parents):
        raise ValueError(f"{profile.run_dir} holds the repository: a run needs a folder of its own, such as {usual}")
    return profile


def _load(path: Path) -> Profile:
    if not path.exists():
        profiles = sorted(p.as_posix() for p in path.parent.glob("*.yaml")) or "no profiles there"
        raise FileNotFoundError(f"no profile {path}; found {profiles}")
    try:
        return Profile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    except ValidationError as error:
        raise ValueError(f"{path} is no profile such as profiles/sample.yaml: {error}") from error


def _apply(setting: str, parameters: Mapping[str, dict[str, Any]]) -> None:
    """Put a setting of the command line, "STEP.PARAMETER=VALUE", among the parameters of its step."""
    match = re.fullmatch(r"([^.=]+)\.([^.=]+)=(.*)", setting, re.DOTALL)
    if not match or match[1] not in parameters:
        raise ValueError(f"--set takes STEP.PARAMETER=VALUE with STEP one of {[*parameters]}, found {setting!r}")
    parameters[match[1]][match[2]] = match[3] if match[2] in PATHS else yaml.safe_load(match[3])


def run(profile: Profile) -> Path:
    """Execute a profile's notebooks, export each as HTML, and write the report.

    A finished profile starts over; one that failed or was interrupted goes on at the notebook where it stopped,
    unless the parameters, notebooks or package changed since. A profile without the notebook that a folder's run began
    with adds to that run: what other notebooks wrote stays.

    Returns:
        The path of the report, index.html.

    Raises:
        FileNotFoundError: before any work, if what the profile requires is not there, with what to fetch.
        NotebookError: at the first cell that fails.
    """
    _require(profile)
    state_path = profile.run_dir / "state.json"
    state = read_json(state_path) if state_path.exists() else {}
    keys, key = {}, content_key([_package_files(), _inputs(profile)])
    for step in profile.steps:
        key = content_key([key, step.model_dump(), file_sha256(_source(step))])
        keys[step.name] = key
    earlier = state.get("done", {})  # keys of the steps that ran in this folder, in order
    first = next(iter(earlier), None)
    again = set(keys) if state.get("complete") else set()  # a finished profile starts over
    finished = {name: key for name, key in earlier.items() if name not in again}
    if first in keys and finished.get(first) != keys[first]:
        finished = {}
        (profile.run_dir / "index.html").unlink(missing_ok=True)
        for folder in OUTPUT_FOLDERS:
            shutil.rmtree(profile.run_dir / folder, ignore_errors=True)
    for number, step in enumerate(profile.steps, start=1):
        title = f"[{number}/{len(profile.steps)}] {step.name}"
        if finished.get(step.name) == keys[step.name]:
            print(f"{title}: done before", flush=True)
            continue
        print(f"{title} ...", flush=True)
        start = time.perf_counter()
        _execute(step, profile.run_dir, timeout_s=int(3_600 * profile.timeout_hours))
        finished[step.name] = keys[step.name]
        write_json(state_path, {"complete": False, "done": finished})
        print(f"{title}: {time.perf_counter() - start:.0f} s", flush=True)
    page = write_report(profile.run_dir, sorted(finished))
    write_json(state_path, {"complete": True, "done": finished})
    return page


def _inputs(profile: Profile) -> list[tuple[str, int, int]]:
    """Return name, size and time of what the path parameters name, so that photos that were added are read."""
    values = [step.parameters[name] for step in profile.steps for name in PATHS if step.parameters.get(name)]
    paths = [under_root(path) for path in values]
    files = [file for path in paths for file in ([path, *path.glob("*")] if path.is_dir() else [path])]
    return sorted((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists())


def _source(step: Step) -> Path:
    return NOTEBOOKS / f"{step.notebook}.ipynb"


def _refuse_unknown(step: Step) -> None:
    """Refuse parameters that a notebook does not have: papermill would only log a warning."""
    if not _source(step).exists():
        notebooks = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
        raise ValueError(f"no notebook {step.notebook!r}; there are {notebooks}")
    parameters = set(papermill.inspect_notebook(str(_source(step))))
    if unknown := sorted(set(step.parameters) - parameters):
        raise ValueError(f"notebook {step.notebook} has no parameter {unknown}; it has {sorted(parameters)}")


def _require(profile: Profile) -> None:
    """Refuse to start while files or weights that the profile requires are missing, with a hint for each."""
    parameters, missing = {step.name: step.parameters for step in profile.steps}, []
    for place, hint in profile.requires.files.items():
        step, _, parameter = place.partition(".")
        if not (path := under_root(parameters[step][parameter])).exists():
            missing.append(f"{path} is not there: {hint}; for another path: --set {place}=PATH")
    for name in profile.requires.weights:
        from geoutils.networks import weights

        try:
            weights.require(name)
        except FileNotFoundError as error:
            missing.append(str(error))
    if missing:
        raise FileNotFoundError("\n- ".join([f"the profile {profile.name!r} needs what is not here yet", *missing]))


def _package_files() -> Mapping[str, str]:
    """Return the checksum of each file of the package, by its path there: several are called `__init__.py`."""
    files = [file for file in sorted(PACKAGE.rglob("*.*")) if "__pycache__" not in file.parts]
    return {file.relative_to(PACKAGE).as_posix(): file_sha256(file) for file in files}


def _execute(step: Step, run_dir: Path, *, timeout_s: int) -> None:
    executed = run_dir / "notebooks" / f"{step.name}.ipynb"
    executed.parent.mkdir(parents=True, exist_ok=True)
    failed = None
    try:
        papermill.execute_notebook(
            str(_source(step)),
            str(executed),
            parameters={**step.parameters, "run_dir": str(run_dir)},
            kernel_name="python3",  # jupyter_client resolves it to this interpreter, in venv and conda alike
            cwd=str(NOTEBOOKS),
            execution_timeout=timeout_s,
            progress_bar=False,
            extra_arguments=["--log-level=50"],  # the kernel speaks of its own transport and shutdown
        )
    except (papermill.PapermillExecutionError, TimeoutError) as error:
        failed = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # without the colours of a terminal
    page = export_html(executed)
    if failed or read_json(executed)["metadata"]["papermill"]["exception"]:  # a cell that exits raises nothing
        raise NotebookError(f"notebook {step.name} failed; see {page}\n{failed or 'a cell left it before its end'}")
