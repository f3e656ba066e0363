"""Methods: a sample in, a predictions file out. Whatever writes one takes part in Table I, the maps and the statistics.

`frozen` tunes the classifiers of `frozen.CLASSIFIERS` on features (`knn`, `svm`; `estimators` is what they share);
`finetuning` trains a network by the `recipe`; `predictions` writes what they score.

To add a method: a file here that scores the validation and test photos of a sample, in the sample's order, and calls

    predictions.write_scores(folder, sample, protocol, scores, class_ids, sidecar)
"""
