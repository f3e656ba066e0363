"""The command: `deep-im2gps run | train`, also `python -m geoutils`, so that torchrun can start it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 after an error that the user can mend (2 for a wrong command line)."""
    given = _parser().parse_args(arguments)
    try:
        given.action(given)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"deep-im2gps: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deep-im2gps", description="In which city was this photo taken?")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a profile's notebooks headless and write its report")
    run.add_argument("profile", type=Path, help="such as profiles/sample.yaml")
    run.add_argument("--set", action="append", default=[], metavar="STEP.PARAMETER=VALUE", dest="settings")
    run.add_argument("--run-dir", type=Path, help="folder to write; default runs/<profile's name>")
    run.set_defaults(action=_run)
    train = commands.add_parser("train", help="fine-tune from a config file, also under torchrun")
    train.add_argument("config", type=Path)
    train.set_defaults(action=_train)
    return parser


def _run(given: argparse.Namespace) -> None:
    from geoutils import pipeline, report

    profile = pipeline.read_profile(given.profile, settings=given.settings, run_dir=given.run_dir)
    page = pipeline.run(profile)
    print(report.table1_text(profile.run_dir))
    print(f"report: {page}")


def _train(given: argparse.Namespace) -> None:
    from geoutils import training

    described = training.finetune(training.read_config(given.config))
    best = described["log"][described["best_epoch"] - 1]
    print(f"best epoch {described['best_epoch']}: validation accuracy {best['val_accuracy']:.3f}")


if __name__ == "__main__":
    sys.exit(main())
