"""Draw a sample from a corpus larger than memory, in two passes over batches of its photo table.

The first pass counts each city's photos and keeps the few that decide how its photos are split (`survey`); the second
draws from each batch and what was kept before it (`keep_drawn`). Both are reductions, whose work on what they left of
parts is their work on the whole: so batches in this process and partitions on a cluster end in the sample that
`sampling.draw_sample` draws from the whole table, row for row.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tqdm.auto import tqdm

from geoutils import readers, sampling, splits
from geoutils.artifacts import atomic_path
from geoutils.cities import eligible_cities, label_cities, load_gazetteer, non_overlapping
from geoutils.readers.checks import Reading
from geoutils.tables import conform, ledger_row, write_csv, write_ledger, write_table

BATCH_ROWS = 500_000  # some 300 MB while they are worked on
Work = Callable[[pd.DataFrame], pd.DataFrame]


class Drawn(NamedTuple):
    """The `sample`; the qualifying `cities` with their number of `photos`; the photo table of the sample's rows."""

    sample: sampling.Sample
    cities: pd.DataFrame
    photos: pd.DataFrame


def draw_streamed(
    photos: Path | Sequence[pd.DataFrame],
    cities: pd.DataFrame,
    *,
    radius_km: float = 25.0,
    min_photos: int = 11_000,
    max_cities: int | None = None,
    protocols: Sequence[str] | None = None,
    per_city: Mapping[str, int | None] | None = None,
    cluster: str | None = None,
    **splitting: Any,
) -> Drawn:
    """Label, count and draw in memory that grows with the sample, not with the corpus.

    What a sample takes whole is held whole: a corpus's own split, which is therefore drawn only if asked for, or what
    `per_city` sets no number for.

    Args:
        photos: a Parquet file or a folder of them, or batches of a photo table; ids are unique in all.
        cities: that do not overlap, as `cities.non_overlapping` gives them.
        radius_km: as for `label_cities`. min_photos, max_cities: as for `eligible_cities`.
        protocols: those to draw; None draws all that the photos allow but a corpus's own.
        per_city, splitting (shares, seed, block_degrees): as for `draw_sample`.
        cluster: address of a dask.distributed scheduler whose workers see the same files; None: this process.

    Raises:
        ValueError: if no city qualifies, a protocol is asked for that the photos do not allow, or a cluster is to read
            batches.
    """
    label = partial(_labelled, cities=cities, radius_km=radius_km)
    surveying = partial(survey, protocols=_streamable() if protocols is None else protocols, **splitting)
    surveyed = _reduce(photos, label, surveying, cluster)
    in_cities = surveyed.loc[surveyed["city_id"].notna(), "photos"]
    total, labelled = int(surveyed["photos"].sum()), int(in_cities.sum())
    ledger = [ledger_row("within the radius of a city", total, labelled, "in no city")]
    counts = eligible_cities(surveyed["city_id"], min_photos, max_cities, weights=surveyed["photos"])
    if counts.empty:
        most = in_cities.max() if labelled else 0
        raise ValueError(f"no city has {min_photos:,} photos, the largest has {most:,}: lower min_photos")
    deciding = surveyed[surveyed["city_id"].isin(counts["city_id"])].drop_duplicates("photo_id")
    protocols = splits.available_protocols(deciding, protocols, among=_streamable(), **splitting)
    drawing = {"protocols": protocols, "per_city": per_city, **splitting}
    held = _reduce(photos, label, partial(keep_drawn, deciding=deciding, **drawing), cluster)
    chosen = counts.merge(cities, on="city_id")
    sample = sampling.draw_sample(held, chosen, counted=(labelled, int(counts["photos"].sum())), **drawing)
    drawn = held[held["photo_id"].isin(sample.table["photo_id"])]
    return Drawn(sample._replace(ledger=ledger + sample.ledger), chosen, conform(drawn, "photos"))


def sample_corpus(
    path: Path,
    reader: str,
    out: Path,
    *,
    image_root: Path | None = None,
    radius_km: float = 25.0,
    per_city: int = 10_000,
    cluster: str | None = None,
    seed: int = 0,
    **cities_that: Any,
) -> Drawn:
    """Draw photos from a corpus larger than memory into a folder that the reader "table" reads.

    Args:
        path, reader, image_root: as for `readers.read_batches`; images may be fetched later.
        out: gets `parts/`, which a second call takes as they are, rejected.csv, cities.csv, photos.parquet, a ledger.
        per_city: photos to draw; splits share them by hash.
        radius_km, cluster, seed: as for `draw_streamed`. cities_that: its min_photos and max_cities.
    """
    out, parts = Path(out), Path(out) / "parts"
    if parts.exists():
        print(f"{parts} are taken as they are: delete the folder to read {path} again")
    else:
        write_parts(readers.read_batches(path, reader, image_root=image_root, check_images=False), out)
    shares = {split: round(share * per_city) for split, share in splits.DEFAULT_SHARES.items()}
    drawn = draw_streamed(
        parts,
        non_overlapping(load_gazetteer(), radius_km),
        radius_km=radius_km,
        protocols=["photo"],
        per_city={"train": per_city - sum(shares.values()), **shares},
        cluster=cluster,
        seed=seed,
        **cities_that,
    )
    write_csv(drawn.cities, out / "cities.csv")
    write_ledger(drawn.sample.ledger, out, "sample")
    write_table(drawn.photos, out / "photos.parquet", "photos")
    return drawn


def survey(photos: pd.DataFrame, *, protocols: Sequence[str], **splitting: Any) -> pd.DataFrame:
    """Count a city's photos, and keep those few that decide how the others are split.

    One photo of each city and split tells, under each protocol, whether the city has both sides and a validation of
    its own, which user or block was cut for it, and which blocks are first and last by hash where that counts. With
    these at hand `assign_split` does to any other photos of the corpus what it would do to them among all.

    Args:
        photos: a photo table with `city_id` (null: in no city) and `photos`, how many each row stands for.
        splitting: shares, seed and block_degrees, as for `assign_split`.

    Returns:
        Some rows of each city, in their order; the first one stands for all photos of the city, the others for none.
    """
    photos = photos.reset_index(drop=True)
    total = photos.groupby("city_id", dropna=False)["photos"].transform("sum")
    keep = ~photos.duplicated("city_id")
    photos["photos"] = total.where(keep, 0)
    known = photos[photos["city_id"].notna()]
    for protocol in protocols:
        for _, split in splits.assign_split(known, protocol, **splitting).items():
            keep[known.index] |= ~pd.concat([known["city_id"], split], axis=1).duplicated()
    return photos[keep]


def keep_drawn(photos: pd.DataFrame, *, deciding: pd.DataFrame, **drawing: Any) -> pd.DataFrame:
    """Keep the photos that may be drawn when all are there, and those that decide.

    Args:
        photos: a photo table with `city_id`.
        deciding: what `survey` left of the qualifying cities.
        drawing: the settings of `sampling.draw`.
    """
    photos = photos[photos["city_id"].isin(deciding["city_id"])].reset_index(drop=True)
    place = pd.Index(deciding["photo_id"]).get_indexer(photos["photo_id"])  # -1: does not decide
    others = deciding.drop(index=deciding.index[place[place >= 0]])
    drawn = sampling.draw(pd.concat([photos, others], ignore_index=True), **drawing)
    return photos[(place >= 0) | photos.index.isin(drawn.index)]


def _streamable() -> list[str]:
    """Name the protocols that need not be held whole."""
    return [name for name, protocol in splits.PROTOCOLS.items() if not protocol.whole]


def _labelled(photos: pd.DataFrame, cities: pd.DataFrame, radius_km: float) -> pd.DataFrame:
    return photos.assign(city_id=label_cities(photos, cities, radius_km), photos=1)


def _reduce(photos: Path | Sequence[pd.DataFrame], label: Work, work: Work, cluster: str | None) -> pd.DataFrame:
    if cluster:
        if not isinstance(photos, str | Path):
            kind = type(photos).__name__
            raise ValueError(f"a cluster reads Parquet files that all workers see: give their folder; found {kind}")
        from dask import dataframe
        from dask.distributed import Client

        with Client(cluster):
            parts = dataframe.read_parquet(photos).map_partitions(label)
            return parts.reduction(work, meta=parts._meta, split_every=8).compute()
    held, (batches, rows) = None, _batches(photos)
    with tqdm(total=rows, desc=work.func.__name__, unit="photo", unit_scale=True) as bar:
        for batch in batches:
            held = work(pd.concat([held, label(batch)], ignore_index=True))
            bar.update(len(batch))
    if held is None:
        raise ValueError("no photos came: expected Parquet files, or batches to walk through twice, such as a list")
    return held


def _batches(photos: Path | Sequence[pd.DataFrame]) -> tuple[Iterable[pd.DataFrame], int]:
    """Return batches of a photo table, and how many rows they have in all."""
    if not isinstance(photos, str | Path):
        return photos, sum(map(len, photos))
    from pyarrow import dataset

    found = dataset.dataset(photos, format="parquet")
    batches = found.to_batches(batch_size=BATCH_ROWS, batch_readahead=1, fragment_readahead=1)
    return (batch.to_pandas() for batch in batches), found.count_rows()


def write_parts(readings: Iterator[Reading], folder: Path) -> Path:
    """Write what a reader gives as Parquet files `folder/parts/`, and rejected.csv; return the files' folder.

    Raises:
        FileExistsError: if parts are there already, which may be another corpus's.
        ValueError: if there is no record.
    """
    parts, growing, rows_in, rows_out = Path(folder) / "parts", Path(folder) / ".parts", 0, 0
    if parts.exists():
        raise FileExistsError(f"{parts} holds an earlier reading: delete it, or give another folder")
    shutil.rmtree(growing, ignore_errors=True)  # what a killed run left
    with atomic_path(Path(folder) / "rejected.csv") as rejected:
        for number, reading in enumerate(tqdm(readings, desc="reading", unit="batch")):
            write_table(reading.photos, growing / f"{number:05}.parquet", "photos")
            reading.rejected.to_csv(rejected, mode="a", header=number == 0, index=False)
            rows_in, rows_out = rows_in + reading.rows_in, rows_out + len(reading.photos)
        if not rows_in:
            raise ValueError(f"no records were found to write to {parts}: give a file or folder that holds some")
    ledger_row("read and checked", rows_in, rows_out, f"see {Path(folder) / 'rejected.csv'}")
    return growing.rename(parts)
