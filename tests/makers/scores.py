"""A small sample and predictions of it, for the tests of what is computed from predictions."""

import numpy as np
import pandas as pd

from geoutils.methods import predictions

MADE_UP, OWN = "SYNTHETIC: made-up photos", "photographs: own"
HOSTILE = "<script>alert(1)</script>"
CITIES = pd.DataFrame(
    {
        "city_id": [40, 10, 30, 20, 50, 60],
        "city": ["Rome", "Athens", "Vienna", "Athens, Georgia", "Sydney", "Lima"],
        "country": ["IT", "GR", "AT", "US", "AU", "PE"],
        "latitude": [41.9, 38.0, 48.2, 34.0, -33.9, -12.0],
        "longitude": [12.5, 23.7, 16.4, -83.4, 151.2, -77.0],
    }
)
IDS = CITIES["city_id"].to_numpy()
THREE_CITIES = pd.DataFrame(
    {
        "city_id": [1, 2, 3],
        "city": ["Aa", "Bb", "Cc"],
        "country": "XX",
        "latitude": [10.0, 20.0, 30.0],
        "longitude": 5.0,
        "population": [30, 20, 10],
    }
)


TITLES = {"chance": "chance", "knn": "kNN", "svm": "linear SVM", "finetune": "fine-tuned"}
KINDS = {"chance": "none", "finetune": "network"}


def told(method="svm", protocol="photo", backbone="net", **more):
    """The sidecar of a method's predictions."""
    names = {"method": method, "title": TITLES.get(method, method), "kind": KINDS.get(method, "frozen")}
    names |= {"backbone": backbone, "weights": "ImageNet", "protocol": protocol, "origin": OWN}
    return names | {"seed": 0, "settings": {}, "provenance": {}} | more


def make_sample(rng):
    city = rng.choice(IDS[:5], 300)  # no photo of Lima
    places = CITIES.set_index("city_id").loc[city]
    return pd.DataFrame(
        {
            "photo_id": [f"p{i:03}" for i in range(300)],
            "latitude": places["latitude"].to_numpy() + rng.normal(size=300) / 20,
            "longitude": places["longitude"].to_numpy() + rng.normal(size=300) / 20,
            "user_id": [f"u{i // 10}" for i in range(300)],
            "city_id": city,
            "split_photo": ["train"] * 60 + ["val"] * 80 + ["test"] * 160,
            "split_user": ["val"] * 60 + ["train"] * 80 + ["test"] * 160,
            "source": "own",
        }
    )


def scored(sample, rng, protocol="photo", skill=1.0):
    """The val and test rows of a sample, with noisy scores that lean to the true city."""
    asked = sample[sample[f"split_{protocol}"] != "train"]
    return asked, rng.normal(size=(len(asked), 6)) + skill * (asked["city_id"].to_numpy()[:, None] == IDS)


def predicted(sample, rng, protocol="photo", skill=1.0):
    asked, scores = scored(sample, rng, protocol, skill)
    return predictions.predictions_table(asked["photo_id"], asked["city_id"], scores, IDS, asked[f"split_{protocol}"])


def only_test(table):
    return table[table["split"] == "test"]


def guesses(right_val: int, right_test: int, n: int = 10) -> pd.DataFrame:
    """2 n photos of city 1, n in val and n in test, so many of them put into city 1 and the others into city 2."""
    guess = [1] * right_val + [2] * (n - right_val) + [1] * right_test + [2] * (n - right_test)
    table = {
        "photo_id": [str(i) for i in range(2 * n)],
        "city_id": 1,
        "predicted": guess,
        "top5": [[g] for g in guess],
        "confidence": np.linspace(1, 0, 2 * n),
        "split": ["val"] * n + ["test"] * n,
    }
    return pd.DataFrame(table)
