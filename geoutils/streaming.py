"""Draw a sample from a corpus larger than memory, in two passes over batches of its photo table.

The first pass counts each city's photos and keeps the few that decide how its photos are split (`survey`). The second
draws from each batch together with what it kept of the batches before (`keep_drawn`). It doesn't matter to either pass
how the corpus is cut: batches in this process and partitions on a cluster end in the sample that
`sampling.draw_sample` draws from the whole table, row for row.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    photos: Path,
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

    A split without a number in `per_city` is held in memory whole. So is a corpus's own split ("given"), which is
    therefore drawn only if `protocols` names it.

    Args:
        photos: a Parquet file with a photo table, or a folder of them; ids are unique in all.
        cities: that do not overlap, as `cities.non_overlapping` gives them.
        radius_km: as for `label_cities`. min_photos, max_cities: as for `eligible_cities`.
        protocols: those to draw; None draws all that the photos allow but a corpus's own.
        per_city, splitting (shares, seed, block_degrees): as for `draw_sample`.
        cluster: address of a dask.distributed scheduler whose workers see the same files; None: this process.

    Raises:
        ValueError: if no city qualifies, or `protocols` names one that the photos do not allow.
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
    rows = _reduce(photos, label, partial(keep_drawn, deciding=deciding, **drawing), cluster)
    chosen = counts.merge(cities, on="city_id")
    sample = sampling.draw_sample(rows, chosen, counted=(labelled, int(counts["photos"].sum())), **drawing)
    rows = rows[rows["photo_id"].isin(sample.table["photo_id"])]
    return Drawn(sample._replace(ledger=ledger + sample.ledger), chosen, conform(rows, "photos"))


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
        path, reader: as for `readers.read_batches`.
        image_root: where the images lie, or will lie once they are fetched.
        out: gets `parts/`, which a second call takes as they are, rejected.csv, cities.csv, photos.parquet, a ledger.
        per_city: photos to draw; splits share them by hash.
        radius_km, cluster, seed: as for `draw_streamed`. cities_that: its min_photos and max_cities.

    Raises:
        ValueError: as `draw_streamed`, and if the corpus gives positions without images.
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

    For each protocol, one photo of each city and split is kept. They tell whether the city has both sides and a
    validation of its own, which user or block was cut for it, and, where that counts, which blocks are first and last
    by hash. With these at hand `assign_split` gives any other photo of the corpus the split that it has among all.

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
    inside = photos[photos["city_id"].notna()]
    for protocol in protocols:
        for _, split in splits.assign_split(inside, protocol, **splitting).items():
            keep[inside.index] |= ~pd.concat([inside["city_id"], split], axis=1).duplicated()
    return photos[keep]


def keep_drawn(photos: pd.DataFrame, *, deciding: pd.DataFrame, **drawing: Any) -> pd.DataFrame:
    """Keep the photos that may still end in the sample, and those that decide how others are split.

    Args:
        photos: a photo table with `city_id`.
        deciding: what `survey` left of the qualifying cities.
        drawing: the settings of `sampling.draw`.
    """
    photos = photos[photos["city_id"].isin(deciding["city_id"])].reset_index(drop=True)
    place = pd.Index(deciding["photo_id"]).get_indexer(photos["photo_id"])  # -1: does not decide
    others = deciding.drop(index=deciding.index[place[place >= 0]])
    sample = sampling.draw(pd.concat([photos, others], ignore_index=True), **drawing)
    return photos[(place >= 0) | photos.index.isin(sample.index)]


def _streamable() -> list[str]:
    """Name the protocols that need not be held whole."""
    return [name for name, protocol in splits.PROTOCOLS.items() if not protocol.whole]


def _labelled(photos: pd.DataFrame, cities: pd.DataFrame, radius_km: float) -> pd.DataFrame:
    return photos.assign(city_id=label_cities(photos, cities, radius_km), photos=1)


def _reduce(photos: Path, label: Work, work: Work, cluster: str | None) -> pd.DataFrame:
    """Label each batch of the Parquet files, and do the work on it together with what the work left so far."""
    if cluster:
        from dask import dataframe
        from dask.distributed import Client

        with Client(cluster):
            parts = dataframe.read_parquet(photos).map_partitions(label)
            return parts.reduction(work, meta=parts._meta, split_every=8).compute()
    from pyarrow import dataset

    corpus, rows = dataset.dataset(photos, format="parquet"), None
    batches = corpus.to_batches(batch_size=BATCH_ROWS, batch_readahead=1, fragment_readahead=1)
    with tqdm(total=corpus.count_rows(), desc=work.func.__name__, unit="photo", unit_scale=True) as bar:
        for batch in batches:
            rows = work(pd.concat([rows, label(batch.to_pandas())], ignore_index=True))
            bar.update(len(batch))
    if rows is None:
        raise ValueError(f"{photos} holds no photos: expected a Parquet file with a photo table, or a folder of them")
    return rows


def write_parts(readings: Iterator[Reading], folder: Path) -> Path:
    """Write what a reader gives as Parquet files `folder/parts/`, and rejected.csv; return the files' folder.

    Raises:
        FileExistsError: if parts are there already, which may be another corpus's.
        ValueError: if there is no record, or a batch gives positions without images.
    """
    parts, growing, rows_in, rows_out = Path(folder) / "parts", Path(folder) / ".parts", 0, 0
    if parts.exists():
        raise FileExistsError(f"{parts} holds an earlier reading: delete it, or give another folder")
    shutil.rmtree(growing, ignore_errors=True)  # what a killed run left
    with atomic_path(Path(folder) / "rejected.csv") as rejected:
        for number, reading in enumerate(tqdm(readings, desc="reading", unit="batch")):
            if len(reading.photos) and reading.photos["path"].isna().all():
                raise ValueError("positions without images: say with --image-root where the images lie, or will lie")
            write_table(reading.photos, growing / f"{number:05}.parquet", "photos")
            reading.rejected.to_csv(rejected, mode="a", header=number == 0, index=False)
            rows_in, rows_out = rows_in + reading.rows_in, rows_out + len(reading.photos)
        if not rows_in:
            raise ValueError(f"no records were found to write to {parts}: give a file or folder that holds some")
    ledger_row("read and checked", rows_in, rows_out, f"see {Path(folder) / 'rejected.csv'}")
    return growing.rename(parts)
