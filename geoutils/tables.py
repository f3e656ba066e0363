"""The tables that modules exchange: their schemas, checked reading and writing, the row ledger.

`pandera` is imported late: importing `geoutils` and its light modules stays fast.
"""

import functools
import re
from pathlib import Path

import numpy as np
import pandas as pd

from geoutils.artifacts import atomic_path, read_json

SYNTHETIC = "synthetic"  # the `source` of every made-up photo
SPLITS = ("train", "val", "test")
MIN_TEST_PHOTOS = 20  # test photos below which a city gets no rank, colour or claim
MOST_SOURCES = 4  # named in an origin
SIDECAR_KEYS = ("method", "title", "kind", "backbone", "weights", "protocol", "origin", "class_ids")

_NUMBER = "float64"
# dtype, nullable, allowed values or range
_TEXT, _TEXT_OR_NULL, _CITY = ("str", False, None), ("str", True, None), ("int64", False, None)
_POSITION = {"latitude": (_NUMBER, False, (-90, 90)), "longitude": (_NUMBER, False, (-180, 180))}
_TIME = ("datetime64[ns]", True, None)
PHOTO_COLUMNS = {
    "photo_id": _TEXT,  # unique, in every table
    "path": _TEXT_OR_NULL,  # absolute; null where a corpus has positions but no image
    **_POSITION,
    "user_id": _TEXT_OR_NULL,
    "taken_at": _TIME,
    "keyword": _TEXT_OR_NULL,
    "partition": _TEXT_OR_NULL,
    "license": _TEXT_OR_NULL,
    "url": _TEXT_OR_NULL,  # where the image can be fetched
    "source": _TEXT,
}
LABEL_COLUMNS = {"photo_id": _TEXT, "city_id": ("Int64", True, None)}  # null: in no city
SPLIT_COLUMNS = "split_.+"  # one a protocol, by its name: an open set
SAMPLE_COLUMNS = {
    "photo_id": _TEXT,
    "path": _TEXT,
    **_POSITION,
    "user_id": _TEXT_OR_NULL,
    "taken_at": _TIME,
    "source": _TEXT,
    "city_id": _CITY,
    "city": _TEXT,
    SPLIT_COLUMNS: ("str", True, SPLITS),  # null: the protocol left the photo out
}
PREDICTION_COLUMNS = {
    "photo_id": _TEXT,
    "city_id": _CITY,
    "predicted": _CITY,
    "top5": ("object", False, None),  # lists of city_id, best first, the first equal to `predicted`
    "confidence": (_NUMBER, False, None),
    "split": ("str", False, ("val", "test")),
    "latitude": (_NUMBER, True, (-90, 90)),  # of the guess; null unless the method answers with a position
    "longitude": (_NUMBER, True, (-180, 180)),
}
_COLUMNS = {
    "photos": PHOTO_COLUMNS,
    "labels": LABEL_COLUMNS,
    "sample": SAMPLE_COLUMNS,
    "predictions": PREDICTION_COLUMNS,
}
_WRITERS = {"photos": "01_photos", "labels": "02_cities", "sample": "03_sample"}  # notebooks


@functools.cache
def _schema(kind: str):
    import pandera.pandas as pa

    described = {}
    for name, (dtype, nullable, allowed) in _COLUMNS[kind].items():
        check = allowed and (pa.Check.in_range(*allowed) if dtype == _NUMBER else pa.Check.isin(allowed))
        how = {"nullable": nullable, "unique": name == "photo_id", "coerce": dtype != "object"}
        pattern = {"regex": True, "required": False} if name == SPLIT_COLUMNS else {}
        described[name] = pa.Column(dtype, check, **how, **pattern)
    return pa.DataFrameSchema(described, strict=True)


def conform(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return `table` with exactly the columns and dtypes of its kind; missing nullable columns become null.

    Args:
        table: any index; extra columns are dropped.
        kind: "photos", "labels", "sample" (which keeps all columns `split_<name>`) or "predictions".

    Raises:
        ValueError: naming the columns and rows that break the schema.
    """
    import pandera.errors

    schema = _schema(kind)
    splits = [name for name in table.columns if re.fullmatch(SPLIT_COLUMNS, str(name))]
    wanted = [own for name in schema.columns for own in (splits if name == SPLIT_COLUMNS else [name])]
    absent = [name for name in wanted if name not in table.columns]
    required = [name for name in absent if not schema.columns[name].nullable]
    if required:
        raise ValueError(f"a {kind} table needs the columns {required}; found {list(table.columns)}")
    filled = table.assign(**dict.fromkeys(absent))[wanted].reset_index(drop=True)
    try:
        return schema.validate(filled, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases[["column", "check", "failure_case", "index"]].head(5).to_string(index=False)
        raise ValueError(f"this is no valid {kind} table; the first faults:\n{cases}") from error


def write_table(table: pd.DataFrame, path: Path, kind: str) -> pd.DataFrame:
    """Check a table against its schema, write it as Parquet atomically, and return what was written."""
    checked = conform(table, kind)
    with atomic_path(path) as temporary:
        checked.to_parquet(temporary, index=False)
    return checked


def read_table(path: Path, kind: str) -> pd.DataFrame:
    """Read and check a Parquet table of the given kind.

    Raises:
        FileNotFoundError: naming the notebook that writes it.
    """
    path = Path(path)
    if not path.exists():
        writer = _WRITERS.get(kind, "05_knn_svm or 06_finetune")
        raise FileNotFoundError(f"{path} is not there yet; notebook {writer} writes it: run that first")
    return conform(pd.read_parquet(path), kind)


def write_csv(table: pd.DataFrame, path: Path) -> Path:
    """Write a small result as CSV, atomically, without its index; return the path."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)
    return Path(path)


def read_csv(path: Path) -> pd.DataFrame:
    """Read a small result. Only an empty cell is a missing value: "NA" is the country Namibia."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def predictions_name(method: str, backbone: str, protocol: str) -> str:
    """Return the name of a predictions file: METHOD-BACKBONE-PROTOCOL."""
    return "-".join(part.replace("/", "_") for part in (method, backbone, protocol))


def read_scores(folder: Path, name: str) -> np.ndarray:
    """Read all scores of a predictions file, float32 (n, classes): rows of its table, columns its `class_ids`."""
    path = Path(folder) / f"{name}.npy"
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; notebook 05_knn_svm or 06_finetune writes it: run that again")
    return np.load(path, mmap_mode="r")


def read_predictions(folder: Path) -> dict[str, tuple[pd.DataFrame, dict]]:
    """Read every predictions file of a folder with its sidecar, by name, sorted.

    Raises:
        ValueError: if a sidecar lacks one of `SIDECAR_KEYS`, naming it.
    """
    paths = sorted(Path(folder).glob("[!.]*.json"))  # a dot: what a killed write left
    sidecars = {path.stem: read_json(path) for path in paths}
    for name, sidecar in sidecars.items():
        if absent := [key for key in SIDECAR_KEYS if key not in sidecar]:
            raise ValueError(
                f"{name}.json lacks {absent}: run the notebook that wrote it again (05_knn_svm, 06_finetune)"
            )
    return {
        name: (read_table(Path(folder) / f"{name}.parquet", "predictions"), told) for name, told in sidecars.items()
    }


def origin(table: pd.DataFrame) -> str:
    """Say in a few words what the photos of a table are; made-up photos win over real ones.

    Args:
        table: with a column `source`.

    Returns:
        "SYNTHETIC: made-up photos" or "photographs: <sources>".
    """
    sources = sorted(table["source"].unique())
    if SYNTHETIC in map(str.lower, sources):
        return "SYNTHETIC: made-up photos"
    more = f" and {len(sources) - MOST_SOURCES} others" if len(sources) > MOST_SOURCES else ""
    return "photographs: " + ", ".join(sources[:MOST_SOURCES]) + more


def made_up(origin: str) -> bool:
    """Tell whether an origin is that of made-up photos, whose numbers are no results."""
    return origin.startswith("SYNTHETIC")


def join_labels(photos: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Return a photo table with the `city_id` of its labels; raise if they speak of other photos."""
    if set(labels["photo_id"]) != set(photos["photo_id"]):
        raise ValueError("labels.parquet speaks of other photos than photos.parquet: run 02_cities again")
    return photos.merge(labels, on="photo_id", validate="1:1")


def drawn_protocols(sample: pd.DataFrame) -> list[str]:
    """Name the protocols that a sample was drawn under, in the order of its columns."""
    drawn = [name for name in sample.columns if re.fullmatch(SPLIT_COLUMNS, name) and sample[name].notna().any()]
    return [name.removeprefix("split_") for name in drawn]


def split_of(sample: pd.DataFrame, protocol: str) -> pd.Series:
    """Return each photo's side under a protocol (train, val, test or null); raise if it was not drawn."""
    if protocol not in (drawn := drawn_protocols(sample)):
        raise ValueError(f"the sample has no split by protocol {protocol!r}; it was drawn under {drawn}")
    return sample[f"split_{protocol}"]


def split_rows(sample: pd.DataFrame, protocol: str, split: str) -> pd.DataFrame:
    """Return the rows of a sample that a protocol puts in one split; raise if there are none."""
    rows = sample[split_of(sample, protocol) == split]
    if rows.empty:
        raise ValueError(f"the sample has no {split} photos under protocol {protocol!r}: draw it with some")
    return rows


def test_rows(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the test rows of predictions; raise if there are none."""
    test = predictions[predictions["split"] == "test"]
    if test.empty:
        raise ValueError(f"expected predictions with test rows; found none among {len(predictions)} rows")
    return test


def ledger_row(step: str, rows_in: int, rows_out: int, why: pd.Series | str = "") -> dict:
    """Return one line of the ledger: rows in, rows out and why, and print it.

    Args:
        why: a phrase, or a column of reasons that is counted.
    """
    if isinstance(why, pd.Series):
        why = "; ".join(f"{reason}: {count:,}" for reason, count in why.value_counts().items())
    print(f"{step}: {rows_in:,} in, {rows_out:,} out" + (f" ({why})" if why else ""))
    return {"step": step, "rows_in": rows_in, "rows_out": rows_out, "why": why}


def write_ledger(rows: list[dict], run_dir: Path, notebook: str) -> pd.DataFrame:
    """Write a notebook's ledger lines to `run_dir/ledger/<notebook>.csv` and return them as a table."""
    table = pd.DataFrame(rows, columns=["step", "rows_in", "rows_out", "why"])
    write_csv(table, Path(run_dir) / "ledger" / f"{notebook}.csv")
    return table


def read_ledger(run_dir: Path) -> pd.DataFrame:
    """Read the ledgers of all notebooks of a run, in order, with a column `notebook`."""
    files = sorted((Path(run_dir) / "ledger").glob("[!.]*.csv"))
    parts = [pd.read_csv(file, keep_default_na=False).assign(notebook=file.stem) for file in files]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
