"""Pages that open from disk with no network: executed notebooks, answers about photos, pictures in them."""

import base64
import functools
import html
import io
import re
from pathlib import Path
from typing import Any, BinaryIO

import jinja2
import pandas as pd

from geoutils.artifacts import write_text
from geoutils.tables import made_up, origin, write_csv

TEMPLATES = Path(__file__).with_name("templates")
QUALITY = 85  # of WebP pictures: a fourth of the PNG files' bytes, with no difference to see


@functools.cache
def template(name: str) -> jinja2.Template:
    """Return a page's template from templates/; what is put into it is escaped."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda share, digits=1: f"{share:.{digits}%}"
    return environment.get_template(name)


def export_html(notebook: Path) -> Path:
    """Turn an executed notebook into one page that asks the network for nothing."""
    import nbformat
    from nbconvert import HTMLExporter

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
        rule: a sentence for the page, from `predictor.describe_threshold`.

    Raises:
        ValueError: for another ending.
    """
    check_ending(path)
    if Path(path).suffix == ".csv":
        return write_csv(table, path)
    rows, data = table.astype(object).where(table.notna(), "").to_dict("records"), table["origin"].iloc[0]
    page = template("predictions.html").render(rows=rows, rule=rule, origin=data, synthetic=made_up(data))
    return write_text(path, page)


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
    stamp = template("stamp.html").render(origin=data, synthetic=made_up(data))
    return re.sub(r"<body[^>]*>", lambda body: body[0] + stamp, page, count=1)
