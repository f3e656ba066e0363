"""The command `deep-im2gps`, also `python -m geoutils`, so that `torchrun -m geoutils train` can start it.

Exit codes: 0 done; 1 an error that the message says how to mend; 2 a wrong command line; 3 predicted, but some files
could not be read.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

SOME_UNREADABLE = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    given = _parser().parse_args(arguments)
    try:
        return given.action(given) or 0
    except (ValueError, OSError, RuntimeError) as error:
        print(f"deep-im2gps: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deep-im2gps", description="In which city was this photo taken?")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, action: Callable[[argparse.Namespace], int | None], purpose: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=purpose)
        added.set_defaults(action=action)
        return added

    run = command("run", _run, "run a profile's notebooks headless and write its report")
    run.add_argument("profile", type=Path, help="such as profiles/sample.yaml")
    run.add_argument("--set", action="append", default=[], metavar="STEP.PARAMETER=VALUE", dest="settings")
    run.add_argument("--run-dir", type=Path, help="folder to write; default runs/<profile's name>")

    predict = command("predict", _predict, "name the city of photos with a finished run's method")
    predict.add_argument("photos", type=Path, nargs="+", help="photos, or folders of photos")
    predict.add_argument("--run", type=Path, required=True, help="a finished run, such as runs/own")
    predict.add_argument("--method", help="METHOD-NETWORK-SPLIT under RUN/predictions; default: what validated best")
    predict.add_argument("--out", type=Path, help="write a .csv or .html file instead of printing")
    predict.add_argument("--min-confidence", type=float, help="below it: none of these; default: set on validation")
    predict.add_argument("--allow-synthetic", action="store_true", help="take a method that learnt from drawings")

    train = command("train", _train, "fine-tune from a config file, also under torchrun")
    train.add_argument("config", type=Path)

    weights = command("weights", _weights, "list, fetch or check weight files")
    weights.add_argument("what", choices=["list", "fetch", "check"])
    weights.add_argument("name", nargs="?", help="a network to fetch, or a file to check")

    collect = command("collect", _collect, "collect openly licensed photos of cities from Wikimedia Commons")
    collect.add_argument("--out", type=Path, required=True, help="folder to write; the same call resumes")
    collect.add_argument("--cities", type=int, default=37, help="so many of the most photographed")
    collect.add_argument("--per-city", type=int, default=300)
    collect.add_argument("--contact", help="your e-mail or page, which Wikimedia needs; or DEEP_IM2GPS_CONTACT")
    collect.add_argument("--rebuild", type=Path, metavar="MANIFEST", help="get the set of a published manifest again")

    sample = command("sample", _sample, "draw photos from a corpus larger than memory")
    sample.add_argument("path", type=Path, help="the corpus, as its reader wants it")
    sample.add_argument("--reader", required=True, help="such as yfcc100m; a wrong name lists all there are")
    sample.add_argument("--out", type=Path, required=True, help="folder to write; the same call resumes")
    sample.add_argument("--image-root", type=Path, help="where the images lie, or will once they are fetched")
    sample.add_argument("--radius-km", type=float, default=25.0)
    sample.add_argument("--min-photos", type=int, default=11_000, help="of a city, in the corpus")
    sample.add_argument("--max-cities", type=int, default=37, help="so many of the most photographed")
    sample.add_argument("--per-city", type=int, default=10_000, help="photos to draw; splits share them by hash")
    sample.add_argument("--cluster", metavar="ADDRESS", help="a dask.distributed scheduler; default: this process")
    sample.add_argument("--seed", type=int, default=0)

    return parser


def _run(given: argparse.Namespace) -> None:
    from geoutils import pipeline
    from geoutils.views import report

    profile = pipeline.read_profile(given.profile, settings=given.settings, run_dir=given.run_dir)
    page = pipeline.run(profile)
    print(report.table1_text(profile.run_dir))
    print(f"report: {page}")


def _predict(given: argparse.Namespace) -> int:
    from geoutils import predictor
    from geoutils.views import pages

    if given.out:
        pages.check_ending(given.out)
    loaded = predictor.load_predictor(given.run, given.method, allow_synthetic=given.allow_synthetic)
    table = predictor.name_cities(loaded, given.photos, min_confidence=given.min_confidence)
    rule, unread = predictor.describe_threshold(loaded, given.min_confidence), int(table["fault"].notna().sum())
    if given.out:
        pages.write(table, given.out, rule)
        print(f"{len(table):,} photos, {unread:,} of them unreadable: {given.out}")
    else:
        print(table.drop(columns=["method", "origin"]).to_string(index=False))
    print(f"method: {table['method'].iloc[0]}; learnt from {table['origin'].iloc[0]}\n{rule}")
    return SOME_UNREADABLE if unread else 0


def _train(given: argparse.Namespace) -> None:
    from geoutils.methods import finetuning, recipe

    described = finetuning.finetune(recipe.read_config(given.config))
    best = described["log"][described["best_epoch"] - 1]
    print(
        f"best epoch {described['best_epoch']}: validation accuracy {best['val_accuracy']:.3f}; {described['origin']}"
    )


def _weights(given: argparse.Namespace) -> None:
    from geoutils.networks import backbones, weights

    if given.what == "list":
        for row in weights.list_files().itertuples():
            print(f"{row.network}: {row.weights}, {row.input} px, {row.layer} ({row.width:,} numbers); {row.licence}")
            print(f"    from {row.url} (checksum: {row.checksum})\n    {row.path or 'not here'}")
    elif not given.name:
        raise ValueError(f"weights {given.what} needs {'a network' if given.what == 'fetch' else 'a file'}")
    elif given.what == "fetch":
        print(weights.fetch_weights(given.name))
    else:
        print("\n".join(backbones.check_weights(Path(given.name))))


def _collect(given: argparse.Namespace) -> None:
    from geoutils import cities
    from geoutils.collectors import commons

    if given.rebuild:
        reading = commons.rebuild(given.rebuild, given.out, contact=given.contact)
    else:
        places = cities.leading_cities(given.cities)
        reading = commons.collect(places, given.out, per_city=given.per_city, contact=given.contact)
    print(f"{len(reading.photos):,} photos in {given.out}; {len(reading.rejected):,} not taken, in rejected.csv")


def _sample(given: argparse.Namespace) -> None:
    from geoutils import streaming

    drawn = streaming.sample_corpus(
        given.path,
        given.reader,
        given.out,
        image_root=given.image_root,
        radius_km=given.radius_km,
        min_photos=given.min_photos,
        max_cities=given.max_cities,
        per_city=given.per_city,
        cluster=given.cluster,
        seed=given.seed,
    )
    photos, cities = len(drawn.photos), len(drawn.cities)
    print(f"{photos:,} photos of {cities} cities: {given.out}; cities.csv there counts the whole corpus")
    print(f"next: deep-im2gps run profiles/corpus.yaml --set 01_photos.photos={given.out.absolute()}")


if __name__ == "__main__":
    sys.exit(main())
