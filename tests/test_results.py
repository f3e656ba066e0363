"""Choices and sentences about a run follow its tables; test photos have no say in what is chosen."""

import numpy as np
import pandas as pd
import pytest

from geoutils import results

CITIES = pd.DataFrame(
    {
        "city_id": [1, 2, 3],
        "city": ["Aa", "Bb", "Cc"],
        "country": "XX",
        "latitude": [0.0, 10.0, 20.0],
        "longitude": [0.0, 10.0, 20.0],
    }
)


def predictions(right_val: int, right_test: int, n: int = 10) -> pd.DataFrame:
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


def told(method: str, protocol: str = "photo") -> dict:
    return {
        "method": method,
        "backbone": "net",
        "weights": "ImageNet",
        "protocol": protocol,
        "origin": "photographs: own",
    }


def test_best_method_is_chosen_on_validation_not_on_test():
    found = {"a": (predictions(9, 1), told("knn")), "b": (predictions(2, 10), told("svm"))}
    assert results.best_method(found) == "a"


def test_random_weights_are_never_the_best_where_there_are_trained_ones():
    found = {"a": (predictions(9, 9), told("knn") | {"weights": "random"}), "b": (predictions(2, 2), told("svm"))}
    assert results.best_method(found) == "b"
    assert results.best_method({"a": found["a"]}) == "a"


def test_chance_is_never_the_best_and_the_paper_s_split_comes_first():
    found = {
        "chance": (predictions(10, 10), told("chance")),
        "user": (predictions(9, 9), told("svm", "user")),
        "photo": (predictions(1, 1), told("svm", "photo")),
    }
    assert results.best_method(found) == "photo"
    assert results.best_method(found, ["user"]) == "user"
    with pytest.raises(ValueError, match="no predictions"):
        results.best_method({"chance": found["chance"]})


def test_mistaken_for_counts_every_test_photo_of_the_city():
    counts = pd.DataFrame([[3, 2, 0], [1, 4, 0], [0, 0, 5]], index=CITIES["city"], columns=CITIES["city"])
    assert results.mistaken_for(counts, CITIES, "Aa")["photos"].tolist() == [3, 2, 0]
    with pytest.raises(ValueError, match="Aa, Bb, Cc"):
        results.mistaken_for(counts, CITIES, "Nowhere")


def test_summary_says_the_numbers_of_the_table():
    columns = {"n_test": 50, "paper": np.nan, "origin": "photographs: own", "interval": "by user", "top5": 0.9}
    rows = [
        {**told("svm"), **columns, "accuracy": 0.5, "ci_low": 0.4, "ci_high": 0.6, "name": "x"},
        {**told("svm", "place"), **columns, "accuracy": 0.125, "ci_low": 0.1, "ci_high": 0.2, "name": "y"},
        {**told("chance"), **columns, "accuracy": 0.3, "ci_low": 0.2, "ci_high": 0.4, "name": "z"},
    ]
    text = " ".join(results.summarise(pd.DataFrame(rows), "x", cities=4))
    for said in (
        "50 test photos",
        "50.0%",
        "40.0% to 60.0%",
        "12.5%",
        "split by place",
        "Guessing among 4 cities is right for 25.0%",
        "photographers",
    ):
        assert said in text


def test_side_by_side_keeps_each_method_in_its_column():
    table = results.side_by_side({"before": predictions(1, 2), "after": predictions(1, 7)}, CITIES)
    first = table.set_index("city").loc["Aa"]
    assert (first["before"], first["after"], first["n_test"]) == (0.2, 0.7, 10)


def test_focus_is_the_least_known_city_of_which_something_can_be_said():
    scores = pd.DataFrame({"city": ["a", "b", "c"], "n_test": [1, 30, 40], "accuracy": [0.0, 0.5, 0.4]})
    scores["enough"] = scores["n_test"] >= 20
    assert results.choose_focus(scores) == "c"
    assert results.choose_focus(scores.assign(enough=False)) == "c"
    assert results.choose_focus(scores.assign(enough=False, n_test=[50, 3, 4])) == "a"


def test_sentences_say_what_the_tables_hold():
    counts = pd.DataFrame([[6, 3, 1], [0, 9, 1], [1, 0, 9]], list("abc"), list("abc"))
    assert results.read_mistakes(counts).startswith(
        "Most often a is taken for b: 3 of 10 photos. Half of the 6 mistakes"
    )
    assert results.read_mistakes(counts).endswith("fall on 1 of 4 pairs of cities that are mistaken at all.")
    scores = pd.DataFrame({"city": list("abc"), "accuracy": [0.6, 0.9, 0.9], "enough": [True, True, False]})
    scores = scores.assign(ci_low=[0.5, 0.8, 0.8], ci_high=[0.7, 1.0, 1.0])
    said = results.read_cities(scores)
    assert said == "Best known: b (90%). Least: a (60%). 2 of 3 cities have enough test photos."
    assert "No city" in results.read_cities(scores.assign(enough=False))
    curve = pd.DataFrame({"coverage": [0.25, 0.5, 1.0], "accuracy": [1.0, 0.8, 0.6]})
    said = results.read_risk(curve, 0.034)
    assert said.startswith("On the surer half of the photos 80.0% are right, on all of them 60.0%.")
    assert "differ by 3.4 points" in said


def test_the_gap_between_splits_is_a_share():
    rows = [("photo", 0.8, 0.7, 0.9, "p"), ("user", 0.4, 0.3, 0.5, "u"), ("place", 0.2, 0.1, 0.3, "l")]
    table = pd.DataFrame(rows, columns=["protocol", "accuracy", "ci_low", "ci_high", "name"])
    table = table.assign(method="svm", backbone="net")
    assert "keeps 25% of what it reaches split by photo" in results.read_gap(table, "p")
    assert "one split only" in results.read_gap(table.head(1), "p")


def test_methods_are_compared_on_the_photos_that_one_alone_got_right():
    found = {"a": (predictions(9, 9), told("svm")), "b": (predictions(5, 0), told("knn"))}
    found |= {"c": (predictions(1, 10), told("finetune")), "u": (predictions(8, 8), told("svm", "user"))}
    said = results.compare_best(found, "a")
    untuned = {name: (table[table["split"] == "test"], sidecar) for name, (table, sidecar) in found.items()}
    assert "nothing to compare" in results.compare_best(untuned, "a")
    assert said.startswith("Beside b, which validates best of the others")  # c would be the one to choose on test
    assert "9 photos are right by a alone, 0 by the other" in said
    assert "more than chance would do" in said
