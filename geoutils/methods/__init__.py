"""Methods: a sample in, a predictions file out. Whatever writes one takes part in Table I, the maps and the statistics.

`frozen` tunes the classifiers of `frozen.CLASSIFIERS` on features (`knn`, `svm`; `estimators` is what they share);
`finetuning` trains a network by the `recipe`; `predictions` writes what they score.

To add a classifier on frozen features: a file here with a scikit-learn estimator that has `title` and `grid`, and one
line in `frozen.CLASSIFIERS`; `frozen` says what else it may have. It is tuned and answers as others do.

To add any other method: a file here that scores the rows `predictions.rows_to_score(sample, protocol)`, and calls

    predictions.write_scores(folder, sample, protocol, scores, class_ids, sidecar)

It stands in Table I and the statistics. Its `kind` in the sidecar is "none" unless it leaves a fine-tuned network.
"""
