"""The three tables that modules exchange: their schemas, checked reading and writing, the row ledger.

`pandera` is imported late: importing `geoutils` and its light modules stays fast.
"""

import functools
from pathlib import Path

import pandas as pd

from geoutils.artifacts import atomic_path, read_json, write_json

SYNTHETIC = "synthetic"  # the `source` of every made-up photo
SPLITS = ("train", "val", "test")
PROTOCOLS = ("photo", "user", "place", "given")
MIN_TEST_PHOTOS = 20  # test photos below which a city gets no rank, colour or claim

_NUMBER = "float64"
# dtype, nullable, allowed values or range
_TEXT, _TEXT_OR_NULL, _CITY = ("str", False, None), ("str", True, None), ("int64", False, None)
_POSITION = {"latitude": (_NUMBER, False, (-90, 90)), "longitude": (_NUMBER, False, (-180, 180))}
PHOTO_COLUMNS = {
    "photo_id": _TEXT,  # unique, in all three
    "path": _TEXT_OR_NULL,  # absolute; null where a corpus has positions but no image
    **_POSITION,
    "user_id": _TEXT_OR_NULL,
    "taken_at": ("datetime64[ns]", True, None),
    "keyword": _TEXT_OR_NULL,
    "partition": _TEXT_OR_NULL,
    "license": _TEXT_OR_NULL,
    "source": _TEXT,
}
SAMPLE_COLUMNS = {
    "photo_id": _TEXT,
    "path": _TEXT,
    **_POSITION,
    "user_id": _TEXT_OR_NULL,
    "city_id": _CITY,
    "city": _TEXT,
    **{f"split_{protocol}": ("str", True, SPLITS) for protocol in PROTOCOLS},
    "source": _TEXT,
}
PREDICTION_COLUMNS = {
    "photo_id": _TEXT,
    "city_id": _CITY,
    "predicted": _CITY,
    "top5": ("object", False, None),  # lists of city_id, best first, the first equal to `predicted`
    "confidence": (_NUMBER, False, None),
    "split": ("str", False, ("val", "test")),
}


@functools.cache
def _schema(kind: str):
    import pandera.pandas as pa

    columns = {"photos": PHOTO_COLUMNS, "sample": SAMPLE_COLUMNS, "predictions": PREDICTION_COLUMNS}[kind]
    described = {}
    for name, (dtype, nullable, allowed) in columns.items():
        check = allowed and (pa.Check.in_range(*allowed) if dtype == _NUMBER else pa.Check.isin(allowed))
        unique, coerce = name == "photo_id", dtype != "object"
        described[name] = pa.Column(dtype, check, nullable=nullable, unique=unique, coerce=coerce)
    return pa.DataFrameSchema(described, strict=True)


def conform(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return `table` with exactly the columns and dtypes of its kind; missing nullable columns become null.

    Args:
        table: any index; extra columns are dropped.
        kind: "photos", "sample" or "predictions".

    Raises:
        ValueError: naming the columns and rows that break the schema.
    """
    import pandera.errors

    schema = _schema(kind)
    wanted = list(schema.columns)
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
        writer = {"photos": "01_photos", "sample": "03_sample", "predictions": "05_knn_svm or 06_finetune"}[kind]
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
    """Return the name of a predictions file, such as "svm-efficientnet_lite0-photo"."""
    return "-".join(part.replace("/", "_") for part in (method, backbone, protocol))


def write_predictions(table: pd.DataFrame, sidecar: dict, folder: Path, name: str) -> None:
    """Write `folder/name.parquet` and its sidecar `name.json`, the sidecar last: both or neither count."""
    path, beside = Path(folder) / f"{name}.parquet", Path(folder) / f"{name}.json"
    with atomic_path(path) as temporary:
        conform(table, "predictions").to_parquet(temporary, index=False)
        beside.unlink(missing_ok=True)  # what is killed from here on has no sidecar, rather than an older table's
    write_json(beside, sidecar)


def read_predictions(folder: Path) -> dict[str, tuple[pd.DataFrame, dict]]:
    """Read every predictions file of a folder with its sidecar, by name, sorted."""
    sidecars = sorted(Path(folder).glob("[!.]*.json"))  # a dot: what a killed write left
    return {path.stem: (read_table(path.with_suffix(".parquet"), "predictions"), read_json(path)) for path in sidecars}


def origin(table: pd.DataFrame) -> str:
    """Say in a few words what the photos of a table are; made-up photos win over real ones.

    Args:
        table: with a column `source`.

    Returns:
        "SYNTHETIC: made-up photos" or "photographs: <sources>".
    """
    sources = sorted(table["source"].unique())
    return "SYNTHETIC: made-up photos" if SYNTHETIC in sources else "photographs: " + ", ".join(sources)


def drawn_protocols(sample: pd.DataFrame) -> list[str]:
    """Name the protocols that a sample was drawn under."""
    return [protocol for protocol in PROTOCOLS if sample[f"split_{protocol}"].notna().any()]


def split_rows(sample: pd.DataFrame, protocol: str, split: str) -> pd.DataFrame:
    """Return the rows of a sample that a protocol puts in one split; raise if there are none."""
    rows = sample[sample[f"split_{protocol}"] == split]
    if rows.empty:
        drawn = drawn_protocols(sample)
        raise ValueError(f"the sample has no {split} photos under protocol {protocol!r}; it was drawn under {drawn}")
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
