"""Label and sample corpora larger than memory from Parquet; print seconds, rows a second and peak memory.

    python benchmarks/streaming.py [FOLDER] [--rows 1000000 3000000] [--per-city 50 10 20]

The made-up corpus takes 40 MB a million rows, and FOLDER keeps it for the next time (without one it is deleted at the
end): positions as often as the bundled grid of real ones has them, up to 580,000 photographers. Each size runs in a
process of its own, against all cities that do not overlap; every city is drawn from that would have 11,000 photos in a
hundred million. The target is for that many: --rows 10000000 30000000 100000000.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from geoutils import tables
from geoutils.cities import load_gazetteer, load_photo_grid, non_overlapping
from geoutils.streaming import draw_streamed

MILLION, CELL_DEGREES = 1_000_000, 0.05
MEMORY_TARGET_GIB = 4.0


def write_million(path: Path, number: int) -> None:
    """Write the corpus's million of that number."""
    rng = np.random.default_rng(number)
    grid = load_photo_grid()
    rows = rng.choice(len(grid), MILLION, p=grid["photos"] / grid["photos"].sum())
    photos = grid[["latitude", "longitude"]].iloc[rows].reset_index(drop=True)
    photos += rng.uniform(-CELL_DEGREES / 2, CELL_DEGREES / 2, photos.shape)
    photos["photo_id"] = (np.arange(MILLION) + number * MILLION).astype(str)
    photos["path"] = "/photos/" + photos["photo_id"] + ".jpg"
    photos["user_id"] = np.char.mod("%016x", rng.zipf(1.3, MILLION) % 580_000)
    photos["taken_at"] = pd.Timestamp("2010-07-19 14:16:19")
    tables.write_table(photos.assign(source="yfcc100m"), path, "photos")


def prepare(folder: Path, millions: int) -> Path:
    """Write what is missing of the corpus, and return a folder with its first parts."""
    for number in range(millions):
        part, link = folder / "parts" / f"{number:05}.parquet", folder / f"{millions}M" / f"{number:05}.parquet"
        if not part.exists():
            write_million(part, number)
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(part, link)
    return folder / f"{millions}M"


def measure(folder: Path, millions: int, per_city: list[int]) -> None:
    """Draw from a prepared folder in this process, and print what it took."""
    options = {"min_photos": 110 * millions, "per_city": dict(zip(tables.SPLITS, per_city, strict=True))}
    start = time.perf_counter()
    drawn = draw_streamed(folder, non_overlapping(load_gazetteer(), radius_km=25.0), **options)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
    print(
        f"{millions:4} million rows: {seconds:7.1f} s, {millions * MILLION / seconds:>9,.0f} rows/s,"
        f" peak {peak:.2f} GiB (target {MEMORY_TARGET_GIB:g}); {len(drawn.cities)} cities,"
        f" {len(drawn.sample.table):,} photos drawn"
    )


def main() -> None:
    """Prepare each size, then measure it in a new process, so that peaks do not mix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="default: a temporary one")
    parser.add_argument("--rows", type=int, nargs="+", default=[MILLION, 3 * MILLION], help="whole millions")
    parser.add_argument("--per-city", type=int, nargs=3, default=[50, 10, 20], metavar=("TRAIN", "VAL", "TEST"))
    parser.add_argument("--measure", action="store_true", help="one prepared size, in this process")
    options = parser.parse_args()
    if wrong := [rows for rows in options.rows if rows < MILLION or rows % MILLION]:
        parser.error(f"--rows must be whole millions, such as 10000000; found {wrong}")
    if options.measure:
        return measure(options.folder, options.rows[0] // MILLION, options.per_city)
    with tempfile.TemporaryDirectory() as temporary:
        for rows in options.rows:
            prepared = str(prepare(options.folder or Path(temporary), rows // MILLION))
            settings = ["--measure", "--rows", str(rows), "--per-city", *map(str, options.per_city)]
            subprocess.run([sys.executable, __file__, prepared, *settings], check=True)


if __name__ == "__main__":
    main()
