"""Pages that open from disk with no network: executed notebooks, answers about photos, pictures in them."""

import base64
import html
import io
import re
from pathlib import Path
from typing import Any, BinaryIO

import nbformat
import pandas as pd
from jinja2 import Template
from nbconvert import HTMLExporter

from geoutils import tables
from geoutils.artifacts import write_text
from geoutils.tables import origin

STAMP = Path(__file__).with_name("templates") / "stamp.html"


QUALITY = 85  # of WebP pictures: a fourth of the PNG files' bytes, with no difference to see


PAGE = Path(__file__).with_name("templates") / "predictions.html"


def export_html(notebook: Path) -> Path:
    """Turn an executed notebook into one page that asks the network for nothing."""
    exporter = HTMLExporter(exclude_input_prompt=True, exclude_output_prompt=True)
    for trait in exporter.trait_names():
        if trait.endswith("_url"):
            setattr(exporter, trait, "")
    content = nbformat.read(notebook, as_version=4)
    content.metadata.pop("widgets", None)  # they live in JupyterLab only: a page would load their code
    page, _ = exporter.from_notebook_node(content, resources={"metadata": {"name": notebook.stem}})
    page = re.sub(r"<script[^>]*\ssrc=\"\"[^>]*>\s*</script>", "", page)
    page = re.sub(r'alt="[^"]*"([^>]*? src=")data:image/png;base64,([^"]+)', _as_webp, page)
    return write_text(notebook.with_suffix(".html"), _stamped(page, notebook.parents[1]))


def picture(file: Path | BinaryIO) -> dict[str, Any]:
    """Return a PNG picture as WebP for an `img` element: src, alt (the words that it carries), width, height."""
    from PIL import Image

    with Image.open(file) as image:
        words = image.info.get("Description", "a picture").replace("\n", ". ")
        image.convert("RGB").save(buffer := io.BytesIO(), "webp", quality=QUALITY)
        width, height = image.size
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"src": f"data:image/webp;base64,{data}", "alt": words, "width": width, "height": height}


def write(table: pd.DataFrame, path: Path, rule: str = "") -> Path:
    """Write predictions as .csv, or as an .html page with the model's origin on top; names are escaped.

    Args:
        rule: a sentence for the page, from `threshold_rule`.

    Raises:
        ValueError: for another ending.
    """
    check_ending(path)
    if Path(path).suffix == ".csv":
        return tables.write_csv(table, path)
    from jinja2 import Template

    rows = table.astype(object).where(table.notna(), "").to_dict("records")
    page = Template(PAGE.read_text(encoding="utf-8"), autoescape=True)
    return write_text(path, page.render(rows=rows, rule=rule))


def check_ending(path: Path) -> None:
    """Refuse a file to write that is neither .csv nor .html: before the work, not after it."""
    if Path(path).suffix not in (".csv", ".html"):
        raise ValueError(f"--out takes a .csv or .html file, found {Path(path).name!r}")


def _as_webp(found: re.Match[str]) -> str:
    shown = picture(io.BytesIO(base64.b64decode(found[2])))
    return f'alt="{html.escape(shown["alt"])}"{found[1]}{shown["src"]}'


def _stamped(page: str, run_dir: Path) -> str:
    """Write the origin of a run's photos over a page, so that no table of made-up data passes for a result."""
    if not (photos := run_dir / "photos.parquet").exists():
        return page
    data = origin(pd.read_parquet(photos, columns=["source"]))
    stamp = Template(STAMP.read_text(encoding="utf-8"), autoescape=True).render(origin=data)
    return re.sub(r"<body[^>]*>", lambda body: body[0] + stamp, page, count=1)
