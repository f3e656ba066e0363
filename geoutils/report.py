"""The report of a run: one page that opens from disk with no network."""

import base64
from pathlib import Path
from typing import Any

import pandas as pd

from geoutils.artifacts import provenance, read_json, write_text
from geoutils.tables import read_ledger

TEMPLATE = Path(__file__).with_name("data") / "report.html"
# section: (title, figures that are shown in it where the run has drawn them)
SECTIONS = {
    "results": ("Table I", ("07_table1", "07_protocols")),
    "where": ("Where it works, and where it fails", ("07_accuracy_map", "07_city_accuracy", "07_error_distances")),
    "confusion": ("What is mistaken for what", ("07_confusion", "07_confused_with")),
    "learning": ("How it learnt", ("05_accuracy_k", "05_accuracy_c", "06_learning", "07_gain")),
    "data": ("The photos", ("02_leading_cities", "02_eligibility", "01_rejected", "03_ledger", "03_shared_users")),
}


def write_report(run_dir: Path, notebooks: list[str]) -> Path:
    """Write `index.html` in a run's folder from its tables, figures and maps, and return its path.

    Args:
        notebooks: names of the executed notebooks, in order, to link to.
    """
    from jinja2 import Environment

    table = read_table1(run_dir)
    origin = table["origin"].iloc[0] if len(table) else "no results yet"
    figures = {path.stem: _figure(path) for path in sorted((run_dir / "figures").glob("*.png"))}
    page = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    content = page.render(
        name=run_dir.name,
        origin=origin,
        synthetic=origin.startswith("SYNTHETIC"),
        sentences=_sentences(run_dir),
        table=table.to_dict("records"),
        sections=[
            {"id": key, "title": title, "figures": [figures[name] for name in names if name in figures]}
            for key, (title, names) in SECTIONS.items()
        ],
        maps=sorted(path.name for path in (run_dir / "maps").glob("*.html")),
        ledger=read_ledger(run_dir).to_dict("records"),
        notebooks=notebooks,
        provenance=provenance(),
    )
    return write_text(run_dir / "index.html", content)


def read_table1(run_dir: Path) -> pd.DataFrame:
    """Read results/table1.csv of a run; empty if no notebook wrote it."""
    path = run_dir / "results" / "table1.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def table1_text(run_dir: Path) -> str:
    """Return Table I as text for a terminal, with the origin of the data above it."""
    table = read_table1(run_dir)
    if table.empty:
        return "this profile wrote no results/table1.csv"
    percent = {name: table[name].map("{:.1%}".format) for name in ("accuracy", "ci_low", "ci_high")}
    paper = table["paper"].map(lambda share: "" if pd.isna(share) else f"{share:.2%}")
    shown = table.drop(columns="origin").assign(**percent, paper=paper)
    return f"\nTable I -- {table['origin'].iloc[0]}\n{shown.to_string(index=False)}\n"


def _sentences(run_dir: Path) -> list[str]:
    path = run_dir / "results" / "summary.json"
    return read_json(path) if path.exists() else []


def _figure(path: Path) -> dict[str, Any]:
    from PIL import Image

    with Image.open(path) as image:
        alt = image.info.get("Description", path.stem)
        width, height = image.size
    data = base64.b64encode(path.read_bytes()).decode()
    return {"src": f"data:image/png;base64,{data}", "alt": alt, "width": width, "height": height}
