"""Look closely at one city or one photo of a finished run: what the widgets of notebook 08 show."""

import functools
import html
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from captum.attr import LayerAttribution, LayerGradCam
from IPython.display import display
from matplotlib import colormaps
from PIL import Image
from sklearn.metrics.pairwise import cosine_similarity
from torch.nn.modules.module import register_module_forward_hook

from geoutils import tables
from geoutils.artifacts import read_json
from geoutils.evaluation import accuracy, findings
from geoutils.features import embed_photos, open_store
from geoutils.images import open_photo
from geoutils.networks import backbones
from geoutils.networks.backbones import Backbone
from geoutils.predictor import Predictor, load_predictor, refusal
from geoutils.views import maps, plots


class Run(NamedTuple):
    """An opened run: its sample, cities and predictions; `refusals` say which methods can't answer for new photos,
    and `best` names the one that validates best of those that can."""

    folder: Path
    sample: pd.DataFrame
    cities: pd.DataFrame
    predictions: dict[str, tuple[pd.DataFrame, dict]]
    refusals: dict[str, str]
    best: str

    @property
    def methods(self) -> list[str]:
        """Name the methods that learnt something."""
        return [name for name, (_, sidecar) in self.predictions.items() if sidecar["kind"] != "none"]

    def choose(self, method: str | None) -> str:
        """Return the method asked for, or by default the best; raise for one that the run does not have."""
        return findings.choose_method(self.predictions, method or self.best)

    @property
    def answering(self) -> dict[str, tuple[pd.DataFrame, dict]]:
        """Return the predictions of the methods that can answer for new photos."""
        return {name: file for name, file in self.predictions.items() if name not in self.refusals}

    @property
    def finetuned(self) -> str | None:
        """Name the fine-tuned network that validates best; None where there is none."""
        networks = {name: file for name, file in self.answering.items() if file[1]["kind"] == "network"}
        return findings.best_method(networks) if networks else None

    def test_cities(self, method: str) -> list[str]:
        """Name the cities that a method was tested on, in the order of geography."""
        tested = self.predictions[method][0].query("split == 'test'")["city_id"]
        return self.cities.loc[self.cities["city_id"].isin(tested), "city"].tolist()

    def test_photos(self, method: str) -> list[tuple[str, str]]:
        """Return what the choice of a photo shows (its city, a method's confidence) and its path, surest first."""
        table = self.predictions[method][0].query("split == 'test'").sort_values("confidence", ascending=False)
        photos = self.sample.set_index("photo_id").loc[table["photo_id"]]
        labels = photos["city"] + table["confidence"].map(", {:.0%}".format).to_numpy()
        return list(zip(labels, photos["path"], strict=True))


def open_run(run_dir: Path) -> Run:
    """Open a finished run.

    Raises:
        FileNotFoundError: if it has no sample or predictions yet.
    """
    run_dir = Path(run_dir)
    predictions = tables.read_predictions(run_dir / "predictions")
    cities = tables.read_csv(run_dir / "cities.csv")
    cities = cities.iloc[accuracy.order_geographically(cities)].reset_index(drop=True)
    reasons = {name: refusal(run_dir, name, sidecar) for name, (_, sidecar) in predictions.items()}
    refusals = {name: reason for name, reason in reasons.items() if reason}
    answering = {name: file for name, file in predictions.items() if name not in refusals}
    best = findings.best_method(answering or predictions)
    return Run(run_dir, tables.read_table(run_dir / "sample.parquet", "sample"), cities, predictions, refusals, best)


@functools.lru_cache(maxsize=4)
def _predictor(run_dir: Path, method: str) -> Predictor:
    return load_predictor(run_dir, method, allow_synthetic=True)


def show_city(run: Run, method: str, city: str) -> None:
    """Show where a city's test photos are taken to be, and its surest right, surest wrong and least sure ones."""
    predictions, sidecar = run.predictions[method]
    mistaken = accuracy.mistaken_for(accuracy.confusion(predictions, run.cities), run.cities, city)
    print(describe_city(mistaken, city, findings.name_of(sidecar)))
    if not mistaken["photos"].any():
        return
    display(maps.mistaken_map(mistaken, city=city, origin=sidecar["origin"]).picture())
    chosen = city_photos(predictions, run.sample, city)
    titles = chosen["kind"] + ": " + chosen["predicted"] + chosen["confidence"].map(" {:.0%}".format)
    display(plots.photo_grid(chosen["path"].tolist(), titles.tolist(), origin=sidecar["origin"]))


def describe_city(mistaken: pd.DataFrame, city: str, method: str) -> str:
    """Say in a sentence what a method makes of a city's test photos (columns city, photos: taken to be there)."""
    counts = mistaken.set_index("city")["photos"]
    wrong, total = counts.drop(city), counts.sum()
    said = f"{method} recognises {counts[city]:,} of {total:,} test photos of {city}"
    if total < tables.MIN_TEST_PHOTOS:
        return f"{said}: too few for a claim."
    most = wrong.index[(wrong == wrong.max()) & (wrong > 0)]  # several, where they tie
    if most.empty:
        return f"{said}."
    each = " each" if len(most) > 1 else ""
    return f"{said}; it takes the others most often for {', '.join(most[:3])} ({wrong.max():,}{each})."


def show_photo(run: Run, method: str, photo: Path | str, file: str = "") -> None:
    """Show a photo's likeliest cities on a map, the training photos most like it, and where a network looks.

    Args:
        file: the path of a photo of one's own, shown in place of `photo`.
    """
    if method in run.refusals:
        print(f"{run.refusals[method]}. These can answer: {', '.join(run.answering) or 'none'}.")
        return
    path = file.strip() or photo
    predictor = _predictor(run.folder, method)
    origin = predictor.sidecar["origin"]
    likely, near = photo_cities(predictor, path), nearest_photos(predictor, run, path)
    name = findings.name_of(predictor.sidecar)
    print(describe_photo(likely, near, name))
    style = likely[["city", "country", "probability"]].style.format({"probability": "{:.1%}"}, escape="html")
    display(style.hide().set_caption(f"{html.escape(name)}, which learnt from {html.escape(origin)}"))
    percent = likely.assign(percent=(100 * likely["probability"]).round(1))
    display(maps.city_map(percent, origin=origin, title="The likeliest cities", value="percent").picture())
    titles = near["city"] + near["similarity"].map(" {:.2f}".format)
    display(plots.photo_grid([path, *near["path"]], ["this photo", *titles], origin=origin))
    show_cam(run, method, path)


def describe_photo(likely: pd.DataFrame, near: pd.DataFrame, method: str) -> str:
    """Say in a sentence where a method puts a photo, and how many of the photos most like it are from there."""
    city, alike = likely["city"].iloc[0], (near["city"] == likely["city"].iloc[0]).sum()
    return (
        f"{method} puts this photo into {city} with a probability of {likely['probability'].iloc[0]:.0%}; "
        f"{alike} of the {len(near)} training photos most like it were taken there."
    )


def show_cam(run: Run, method: str, path: Path | str) -> None:
    """Show where a fine-tuned network looks: the chosen method's, or else that of the one that validates best."""
    name = method if run.predictions[method][1]["kind"] == "network" else run.finetuned
    if name is None:
        print("No network was fine-tuned in this run, so there is no Grad-CAM to show.")
        return
    tuned = _predictor(run.folder, name)
    city = photo_cities(tuned, path, number=1).iloc[0]
    painted = grad_cam(tuned.backbone, path, tuned.sidecar["class_ids"].index(city["city_id"]))
    titles, title = ["this photo", f"says {city['city']}"], f"Where {findings.name_of(tuned.sidecar)} looks"
    display(plots.photo_grid([path, painted], titles, origin=tuned.sidecar["origin"], columns=4, title=title))


def city_photos(predictions: pd.DataFrame, sample: pd.DataFrame, city: str, *, number: int = 6) -> pd.DataFrame:
    """Choose a city's surest right, surest wrong and least sure test photos.

    Returns:
        photo_id, path, predicted (name), confidence and kind ("right", "wrong", "unsure"); at most `number` a kind.
    """
    names = sample.drop_duplicates("city_id").set_index("city_id")["city"]
    test = predictions[predictions["split"] == "test"].merge(sample[["photo_id", "path"]], on="photo_id")
    test = test[test["city_id"].map(names) == city].assign(predicted=test["predicted"].map(names))
    if test.empty:
        raise ValueError(f"no test photos of {city!r}; there are some of {', '.join(sorted(names)[:10])}, ...")
    by_confidence = test.sort_values("confidence", ascending=False)
    right = by_confidence["predicted"] == city
    chosen = {
        "right": by_confidence[right].head(number),
        "wrong": by_confidence[~right].head(number),
        "unsure": by_confidence.tail(number),
    }
    photos = pd.concat(chosen, names=["kind"]).reset_index("kind").reset_index(drop=True)
    return photos[["photo_id", "path", "predicted", "confidence", "kind"]]


def photo_cities(predictor: Predictor, path: Path | str, *, number: int = 5) -> pd.DataFrame:
    """Return the likeliest cities of one photo with calibrated probabilities: the cities' columns and `probability`."""
    (shares,) = predictor.probabilities(pd.Series([str(path)]))
    return predictor.cities.assign(probability=shares).nlargest(number, "probability").reset_index(drop=True)


def nearest_photos(predictor: Predictor, run: Run, path: Path | str, *, number: int = 6) -> pd.DataFrame:
    """Find the training photos most like one photo, as evidence for its city, in the features that the method learnt
    from (of a fine-tuned network, those of the run's last store).

    Returns:
        photo_id, path, city, similarity (cosine), most alike first; the photo itself is left out.
    """
    name = predictor.sidecar["settings"].get("store") or read_json(run.folder / "features.json")[-1]
    store = open_store(run.folder / "features" / name, run.sample)
    train = tables.split_of(run.sample, predictor.sidecar["protocol"]) == "train"
    train = (train & (run.sample["path"] != str(path))).to_numpy()
    query = embed_photos(backbones.load(**store.key["made_with"]), pd.Series([str(path)]))
    similarity = cosine_similarity(store.rows[train], query)[:, 0]
    photos = run.sample.loc[train, ["photo_id", "path", "city"]].assign(similarity=similarity)
    return photos.nlargest(number, "similarity").reset_index(drop=True)


def grad_cam(backbone: Backbone, path: Path | str, class_index: int) -> Image.Image:
    """Paint where a fine-tuned network looks when it names a class (Selvaraju et al. 2017), over the photo's crop.

    The layer is the last one whose output is still a map.
    """
    preprocessing = backbone.preprocessing
    photo = open_photo(path, shortest_side=preprocessing.resize)
    pixels = preprocessing(photo)[None]
    network = backbone.network.cpu().eval()
    cam = LayerGradCam(network, _last_map(network, pixels))
    heat = cam.attribute(pixels, target=int(class_index), relu_attributions=True)
    heat = LayerAttribution.interpolate(heat, pixels.shape[2:], "bilinear")[0, 0].detach().numpy()
    heat = heat / max(heat.max(), 1e-12)
    painted = Image.fromarray(colormaps["inferno"](heat, bytes=True)[..., :3])
    opacity = Image.fromarray((0.6 * 255 * heat).astype(np.uint8))
    return Image.composite(painted, preprocessing.crop(photo), opacity)


def _last_map(network: torch.nn.Module, pixels: torch.Tensor) -> torch.nn.Module:
    maps = []

    def note(module: torch.nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4 and output.shape[-1] > 1:
            maps.append(module)

    with register_module_forward_hook(note), torch.inference_mode():
        network(pixels)
    return maps[-1]
