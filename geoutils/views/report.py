"""The report of a run: one page that opens from disk with no network."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geoutils.artifacts import provenance, read_json, write_text
from geoutils.splits import PROTOCOLS
from geoutils.tables import made_up, read_csv, read_ledger
from geoutils.views.pages import picture, template

SHADES = (0, 0.05, 0.1, 0.2, 0.4)  # shares of a city's test photos beyond which a cell is darker
FOLDERS = re.compile(r'(?<=")(?:[/~]|[A-Za-z]:)[^"]*[/\\]')  # a path's folders name a machine and its user


def write_report(run_dir: Path, notebooks: list[str]) -> Path:
    """Write `index.html` in a run's folder from its tables, figures and maps, and return its path.

    Args:
        run_dir: may lack anything; what is not there is not shown.
        notebooks: names of the executed notebooks, in order, to link to.
    """
    table, accuracy_map = _csv(run_dir / "results/table1.csv"), run_dir / "maps/accuracy.html"
    content = template("report.html").render(
        name=run_dir.name,
        origin=origin_of(table),
        synthetic=made_up(origin_of(table)),
        about={name: protocol.about for name, protocol in PROTOCOLS.items()},
        sentences=_json(run_dir / "results/summary.json", []),
        facts=_facts(run_dir),
        table=_records(table),
        scores=_records(_csv(run_dir / "results/per_city.csv")),
        **_confusion(run_dir / "results"),
        figures={path.stem: path for path in sorted((run_dir / "figures").glob("*.png"))},
        picture=picture,
        accuracy_map=accuracy_map.read_text(encoding="utf-8") if accuracy_map.exists() else "",
        maps=sorted(path.stem for path in (run_dir / "maps").glob("[!.]*.html")),  # a dot: what a killed write left
        ledger=_records(read_ledger(run_dir)),
        rejected=_csv(run_dir / "rejected.csv", ["reason"])["reason"].value_counts().to_dict(),
        notebooks=[_notebook(run_dir / "notebooks" / f"{name}.ipynb") for name in notebooks],
        provenance=provenance(),
        **_sources(run_dir),
    )
    return write_text(run_dir / "index.html", content)


def origin_of(table1: pd.DataFrame) -> str:
    """Say what Table I was measured on; one made-up row makes it all made up."""
    return max(table1.get("origin", []), key=made_up, default="no results yet")


def table1_text(run_dir: Path) -> str:
    """Return Table I as text for a terminal, with the origin of the data above it."""
    table = _csv(run_dir / "results/table1.csv")
    if table.empty:
        return "this profile wrote no results/table1.csv"
    percent = {name: table[name].map("{:.1%}".format) for name in ("accuracy", "ci_low", "ci_high")}
    columns = ["title", "backbone", "weights", "protocol", "accuracy", "ci_low", "ci_high", "n_test", "interval"]
    text = table.assign(**percent)[columns]
    paper = table.dropna(subset="paper").drop_duplicates(["method", "backbone"])
    said = ", ".join(f"{row.title} {row.backbone} {row.paper:.2%}" for row in paper.itertuples())
    apart = f"\nthe paper's own, on its own photos: {said}" if said else ""
    return f"\nTable I -- {origin_of(table)}\n{text.to_string(index=False)}\n{apart}\n"


def _csv(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    return read_csv(path) if path.exists() else pd.DataFrame(columns=columns)


def _json(path: Path, default: Any) -> Any:
    return read_json(path) if path.exists() else default


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table.astype(object).where(table.notna(), None).to_dict("records")


def _facts(run_dir: Path) -> dict[str, str]:
    facts, ledger, photos = {}, read_ledger(run_dir), run_dir / "photos.parquet"
    if len(ledger):
        facts["photos usable"] = f"{ledger['rows_out'].iloc[0]:,} of {ledger['rows_in'].iloc[0]:,}"
    if photos.exists():
        users = pd.read_parquet(photos, columns=["user_id"])["user_id"].nunique()
        facts["photographers"] = f"{users:,}" if users else "unknown"
    return facts


def _confusion(results: Path) -> dict[str, Any]:
    """Shade the cells of the confusion matrix, and find the most frequent mistakes of cities with enough photos."""
    counts, scores = _csv(results / "confusion.csv"), _csv(results / "per_city.csv")
    if counts.empty or scores.empty:
        return {}
    counts, enough = counts.set_index("true"), scores["enough"].to_numpy(bool)  # rows of both in the same order
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    cells = np.stack([counts, np.searchsorted(SHADES, shares)], axis=2).tolist()
    wrong = shares.where(~np.eye(len(shares), dtype=bool))[enough].stack().nlargest(6)
    rows = zip(counts.index, enough, cells, strict=True)
    return {
        "matrix": [{"city": city, "enough": claim, "cells": row} for city, claim, row in rows],
        "mistakes": [(*pair, share) for pair, share in wrong[wrong > 0].items()],
    }


def _sources(run_dir: Path) -> dict[str, Any]:
    """Gather what the sidecars say: whose weights with which checksum, which settings, seed, commit and time."""
    sidecars = {path.stem: read_json(path) for path in sorted((run_dir / "predictions").glob("[!.]*.json"))}
    stores = [run_dir / "features" / name / "key.json" for name in _json(run_dir / "features.json", [])]
    models = [run_dir / "models" / name / "model.json" for name in sidecars]
    networks = [read_json(path) for path in (*stores, *models) if path.exists()]
    made = [sidecar.get("provenance", {}) for sidecar in sidecars.values()]
    used = ("backbone", "weights", "weights_sha256")
    return {
        "networks": {(*map(n.get, used), n["preprocessing"]["size"]): n for n in networks}.values(),
        "predictions": [{**t, "name": n, "settings": _public(t.get("settings", {}))} for n, t in sidecars.items()],
        "commits": sorted({m["commit"][:10] for m in made if m.get("commit")}),
        "uncommitted": any(m.get("uncommitted_changes") for m in made),
    }


def _notebook(path: Path) -> dict[str, Any]:
    """Read an executed notebook's question, parameters and seconds."""
    content = _json(path, {"metadata": {}, "cells": [{"source": ""}]})
    run = content["metadata"].get("papermill", {})
    question = re.search(r"\*\*(.+?)\*\*|$", "".join(content["cells"][0]["source"]))[1]
    parameters = {name: value for name, value in run.get("parameters", {}).items() if name != "run_dir"}
    return {"name": path.stem, "question": question, "parameters": _public(parameters), "seconds": run.get("duration")}


def _public(settings: dict[str, Any]) -> str:
    return FOLDERS.sub("", json.dumps(settings, ensure_ascii=False))[1:-1].replace('"', "")
