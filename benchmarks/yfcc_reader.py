"""Read YFCC100M's tab-separated text to photo tables, beside pandas and bare pyarrow, on one core.

    python benchmarks/yfcc_reader.py [--rows 1000000]

The three take turns in one process. The peers parse the same seven columns and stop there: no check of positions, no
hashed owners, no account of what is broken (pandas turns short rows into nulls without a word). Half of the made-up
rows have a position and one in a hundred is a video, about as in the release; one in a thousand is broken.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from geoutils.readers.yfcc100m import read_yfcc100m

USED = [0, 1, 3, 10, 11, 15, 22]
TARGET = 250_000  # rows a second
ROW = (
    "{id}\t{owner}@N00\tnick+name\t2010-07-19 14:16:19.0\t1279549000\tCanon+EOS+5D\tThe+tower+at+night\t{text}\t"
    "paris,france,tower\t\t{longitude}\t{latitude}\t16\thttp://www.example.org/photos/{owner}@N00/{id}/\t"
    "http://example.org/4137/{id}_b46d1cb6a1.jpg\tAttribution-NonCommercial-ShareAlike License\t"
    "http://creativecommons.org/licenses/by-nc-sa/2.0/\t4137\t5\tb46d1cb6a1\t0b0e3ee6e5\tjpg\t{marker}\n"
)


def write_rows(path: Path, rows: int) -> None:
    """Write made-up rows of about 560 bytes."""
    rng = np.random.default_rng(0)
    owners = rng.zipf(1.3, rows) % 580_000
    positions = rng.uniform((-90, -180), (90, 180), (rows, 2)).round(6)
    with open(path, "w", encoding="utf-8") as file:
        for i, (owner, (latitude, longitude)) in enumerate(zip(owners, positions, strict=True)):
            placed = {"latitude": latitude, "longitude": longitude} if i % 2 else {"latitude": "", "longitude": ""}
            marker = "1" if i % 100 == 0 else "0"
            line = ROW.format(id=10**9 + 7 * i, owner=owner, text="some+words+" * 12, marker=marker, **placed)
            file.write("broken\t" + line if i % 1_000 == 500 else line)


def with_geoutils(path: Path) -> int:
    """Read to photo tables, batch by batch, and count every record."""
    return sum(reading.rows_in for reading in read_yfcc100m(path))


def with_pandas(path: Path) -> int:
    """Parse by pandas' C engine."""
    names = [str(i) for i in range(23)]
    options = {"sep": "\t", "quoting": 3, "usecols": USED, "on_bad_lines": "skip", "chunksize": 250_000}
    return sum(map(len, pd.read_csv(path, header=None, names=names, **options)))


def with_pyarrow(path: Path) -> int:
    """Parse by pyarrow, which counts what it skips only if it is asked to."""
    names = [str(i) for i in range(23)]
    read = csv.ReadOptions(use_threads=False, block_size=1 << 23, column_names=names)
    parse = csv.ParseOptions(delimiter="\t", quote_char=False, invalid_row_handler=lambda row: "skip")
    convert = csv.ConvertOptions(include_columns=[names[i] for i in USED])
    return sum(map(len, csv.open_csv(path, read, parse, convert)))


def main() -> None:
    """Time the three in turns and print rows, rows a second and the ratio to ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    pa.set_cpu_count(1)
    readers = {"geoutils": with_geoutils, "pandas": with_pandas, "pyarrow": with_pyarrow}
    best, counted = dict.fromkeys(readers, float("inf")), {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "yfcc100m_dataset"
        write_rows(path, arguments.rows)
        for _ in range(arguments.rounds):
            for name, read in readers.items():
                start = time.perf_counter()
                counted[name] = read(path)
                best[name] = min(best[name], time.perf_counter() - start)
    for name, seconds in best.items():
        rate, ratio = arguments.rows / seconds, best["geoutils"] / seconds
        print(f"{name:9} {counted[name]:>10,} rows  {rate:>9,.0f} rows/s  {ratio:4.1f} times ours")
    verdict = "reached" if arguments.rows / best["geoutils"] >= TARGET else "missed"
    print(f"target of {TARGET:,} rows/s {verdict}; of {arguments.rows:,} rows {counted['geoutils']:,} accounted for")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()
