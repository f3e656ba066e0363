"""Choices and sentences about a run follow its tables; test photos have no say in what is chosen."""

import numpy as np
import pandas as pd
import pytest

from geoutils.evaluation import findings
from makers.scores import guesses, told


def test_best_method_is_chosen_on_validation_not_on_test():
    found = {"a": (guesses(9, 1), told("knn")), "b": (guesses(2, 10), told("svm"))}
    assert findings.best_method(found) == "a"


def test_random_weights_are_never_the_best_where_there_are_trained_ones():
    found = {"a": (guesses(9, 9), told("knn") | {"weights": "random"}), "b": (guesses(2, 2), told("svm"))}
    assert findings.best_method(found) == "b"
    assert findings.best_method({"a": found["a"]}) == "a"


def test_chance_is_never_the_best_and_the_paper_s_split_comes_first():
    found = {
        "chance": (guesses(10, 10), told("chance")),
        "user": (guesses(9, 9), told("svm", "user")),
        "photo": (guesses(1, 1), told("svm", "photo")),
    }
    assert findings.best_method(found) == "photo"
    assert findings.best_method(found, ["user"]) == "user"
    with pytest.raises(ValueError, match="no predictions"):
        findings.best_method({"chance": found["chance"]})


def test_a_method_that_is_not_there_is_refused_naming_those_that_are():
    files = {"a": (guesses(9, 9), told("svm")), "b": (guesses(5, 5), told("knn"))}
    assert findings.choose_method(files) == findings.choose_method(files, "a") == "a"
    with pytest.raises(ValueError, match=r"'a\.parquet'; there are a, b"):
        findings.choose_method(files, "a.parquet")


def test_what_learnt_nothing_is_never_the_best_and_other_splits_come_by_name():
    found = {"coin": (guesses(10, 10), told("coin", kind="none")), "b": (guesses(1, 1), told("svm", "seed b"))}
    found["a"] = guesses(5, 5), told("svm", "seed a")
    assert findings.best_method(found) == "a"
    assert findings.best_method(found, ["seed b"]) == "b"


def test_a_rival_has_learnt_something_from_whatever_weights():
    found = {"a": (guesses(9, 9), told("svm")), "coin": (guesses(8, 8), told("coin", kind="none", weights="prior"))}
    assert findings.describe_rivals(found, "a").startswith("No other method")
    found["gist"] = guesses(3, 3), told("svm", weights="none")
    found["gist"][1]["title"] = "gist"
    assert "Beside gist on net" in findings.describe_rivals(found, "a")


def test_the_rival_on_frozen_features_is_of_the_same_network_and_split_and_validates_best():
    found = {"a": (guesses(3, 9), told("knn")), "b": (guesses(5, 0), told("nearest mean"))}
    found |= {"c": (guesses(9, 9), told("finetune")), "d": (guesses(9, 9), told("svm", "user"))}
    found |= {"e": (guesses(9, 9), told("svm", backbone="other"))}
    assert findings.frozen_rival(found, "net", "photo") == "b"
    assert findings.frozen_rival(found, "net", "place") is None


def test_a_search_is_told_by_its_best_and_worst_setting_and_the_best_of_each_treatment():
    rows = [("kNN", "raw", 0.2, 1), ("kNN", "raw", 0.1, 5), ("kNN", "centred", 0.3, 5), ("mean", "raw", 0.4, 0)]
    trials = pd.DataFrame(rows, columns=["title", "preprocess", "accuracy", "k"])
    trials["settings"] = [{"preprocess": row.preprocess, "k": row.k} for row in trials.itertuples()]
    knn, mean = findings.describe_search(trials)
    assert knn.startswith("kNN: 10.0% to 30.0% of the validation photos")
    assert "best with centred features, k = 5" in knn
    assert knn.endswith("raw 20.0%, centred 30.0%.")
    assert mean.startswith("mean: 40.0% to 40.0%")


def test_summary_says_the_numbers_of_the_table():
    columns = {"n_test": 50, "paper": np.nan, "origin": "photographs: own", "interval": "by user", "top5": 0.9}
    rows = [
        {**told("svm"), **columns, "accuracy": 0.5, "ci_low": 0.4, "ci_high": 0.6, "name": "x"},
        {**told("svm", "place"), **columns, "accuracy": 0.125, "ci_low": 0.1, "ci_high": 0.2, "name": "y"},
        {**told("chance"), **columns, "accuracy": 0.3, "ci_low": 0.2, "ci_high": 0.4, "name": "z"},
    ]
    text = " ".join(findings.describe_table1(pd.DataFrame(rows), "x", cities=4))
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


def test_focus_is_the_least_known_city_of_which_something_can_be_said():
    scores = pd.DataFrame({"city": ["a", "b", "c"], "n_test": [1, 30, 40], "accuracy": [0.0, 0.5, 0.4]})
    scores["enough"] = scores["n_test"] >= 20
    assert findings.choose_focus(scores) == "c"
    assert findings.choose_focus(scores.assign(enough=False)) == "c"
    assert findings.choose_focus(scores.assign(enough=False, n_test=[50, 3, 4])) == "a"


def test_sentences_say_what_the_tables_hold():
    counts = pd.DataFrame([[6, 3, 1], [0, 9, 1], [1, 0, 9]], list("abc"), list("abc"))
    assert findings.describe_mistakes(counts).startswith(
        "Most often a is taken for b: 3 of 10 photos. Half of the 6 mistakes"
    )
    assert findings.describe_mistakes(counts).endswith("fall on 1 of 4 pairs of cities that are mistaken at all.")
    scores = pd.DataFrame({"city": list("abc"), "accuracy": [0.6, 0.9, 0.9], "enough": [True, True, False]})
    scores = scores.assign(ci_low=[0.5, 0.8, 0.8], ci_high=[0.7, 1.0, 1.0])
    said = findings.describe_cities(scores)
    assert said == "Best known: b (90%). Least: a (60%). 2 of 3 cities have enough test photos."
    assert "No city" in findings.describe_cities(scores.assign(enough=False))
    curve = pd.DataFrame({"coverage": [0.25, 0.5, 1.0], "accuracy": [1.0, 0.8, 0.6]})
    said = findings.describe_risk(curve, 0.034)
    assert said.startswith("On the surer half of the photos 80.0% are right, on all of them 60.0%.")
    assert "differ by 3.4 points" in said


def test_the_gap_between_splits_is_a_share():
    rows = [("photo", 0.8, 0.7, 0.9, "p"), ("user", 0.4, 0.3, 0.5, "u"), ("place", 0.2, 0.1, 0.3, "l")]
    table = pd.DataFrame(rows, columns=["protocol", "accuracy", "ci_low", "ci_high", "name"])
    table = table.assign(method="svm", backbone="net")
    assert "keeps 25% of what it reaches split by photo" in findings.describe_gap(table, "p")
    assert "one split only" in findings.describe_gap(table.head(1), "p")


def test_methods_are_compared_on_the_photos_that_one_alone_got_right():
    found = {"a": (guesses(9, 9), told("svm")), "b": (guesses(5, 0), told("knn"))}
    found |= {"c": (guesses(1, 10), told("finetune")), "u": (guesses(8, 8), told("svm", "user"))}
    said = findings.describe_rivals(found, "a")
    untuned = {name: (table[table["split"] == "test"], sidecar) for name, (table, sidecar) in found.items()}
    assert "nothing to compare" in findings.describe_rivals(untuned, "a")
    assert said.startswith("Beside kNN on net, which validates best of the others")  # c would be chosen on test
    assert "9 photos are right by linear SVM on net alone, 0 by the other" in said
    assert "more than chance would do" in said
