"""Sections 3.7 (1, 2, 3, 5) and 4.1-4.4: measure accuracy, faithfulness, agreement and direction.

The formulas are of one sentence; 06_figures.py averages over sentences and seeds.

Reads   the text (--data); subset.jsonl; explanations/ and models/ of all models that are explained
Writes  to measures/, for all models together: labels.jsonl (Figure 1: a row per split and label),
        models.jsonl (a row per model); and with rows per sentence: predictions.jsonl (Figure 4,
        buckets of 3.7 (5)), faithfulness.jsonl and short_tokens.jsonl (Table 1), agreement.jsonl
        (Table 2), direction.jsonl (Table 3), explainers.jsonl (3.7 (2)), completeness.jsonl
        (how exactly integrated gradients sum up)

    python 04_evaluate.py --data SetFit/sst5 --artifacts artifacts

Everything is computed anew each time, so a changed formula changes the number.
"""
import math
import re
import time
from itertools import product
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd

from common import (KS, LABELS, PAIRS, PAPER_MODELS, cli, cosine, explained_models, load_classifier,
                    load_explanations, load_subset, open_run, polarity_attributions, predict_proba,
                    predicted_attributions, read_json, remove, run, sentence_seed, stop, token_ids,
                    token_spans, top_k, write_jsonl)

METHODS = ("shap", "lime", "ig")  # they explain all 150 sentences
PARTIAL_METHODS = ("shap_mask", "lime_resampled")  # in run_all.sh 30, for BERT of the first seed
EXPLAINER_PAIRS = ("shap/lime", "shap/ig", "lime/ig", "shap/shap_mask", "lime/lime_resampled")
RANDOM_DRAWS = 5  # random removals a sentence
BUCKETS = {  # 3.7 (5): whether BERT, DistilBERT and KD-TinyBERT are right
    (True, True, True): "all_correct", (False, False, False): "all_wrong",
    (True, False, False): "bert_only", (False, True, False): "dbert_only",
    (False, False, True): "kd_only", (True, False, True): "bert_kd_pair",
    (False, True, True): "dbert_kd_pair", (True, True, False): "bert_dbert"}


# --- 3.6: an explanation as a pandas Series of signed scores. Its index says of what: positions of
# wordpieces (A3), or for LIME words, each of which stands for all its occurrences.

def scores(row, polarity=False):
    """The series of an explained sentence, of the predicted class or of the polarity score. A word
    that LIME did not choose scores 0."""
    if "words" in row:  # LIME's
        all_words = dict.fromkeys(re.findall(r"\w+", row["text"]), 0.0)
        of = "polarity_" if polarity else ""
        chosen = dict(zip(row[of + "words"], row[of + "attributions"]))
        return pd.Series(all_words | chosen, dtype=float)
    return pd.Series(polarity_attributions(row) if polarity else predicted_attributions(row))


def largest(series, k):
    """The k entries of largest |score|, largest first (A5): positions, or LIME's words."""
    return list(series.index[top_k(series, k)])


def positions_of_words(text, spans):
    """{word: positions of the wordpieces that start in it, at all its occurrences}. A word is \\w+,
    in the case of the text, as for LIME. spans: [start, end] of each wordpiece."""
    positions = {}
    for word in re.finditer(r"\w+", text):
        inside = [p for p, (start, _) in enumerate(spans) if word.start() <= start < word.end()]
        positions.setdefault(word.group(), []).extend(inside)
    return positions


def word_scores(row):
    """The series over words, to compare explainers. A word's score is the sum over its wordpieces,
    in all its occurrences."""
    if "words" in row:
        return scores(row)
    phi, positions = predicted_attributions(row), positions_of_words(row["text"], row["spans"])
    return pd.Series({word: phi[at].sum() for word, at in positions.items()}, dtype=float)


# --- 3.7 (1) and 4.2: faithfulness

def changed_inputs(tokenizer, row, k):
    """The sentence, changed, as wordpiece ids. "top": without its k tokens of largest |score| (A4,
    A5); "masked": with [MASK] in their place; "random": five times without k random tokens. For
    LIME words take the place of tokens, and all occurrences of a word are removed. The random ones
    come from NumPy's default_rng with the seed CRC-32 of "0 <text>", anew for each k and explainer:
    so they are the same for every model, and those of a smaller k are among those of a larger."""
    ids = token_ids(tokenizer, row["text"])
    positions_of = {position: [position] for position in range(len(ids))}  # of each unit
    if "words" in row:  # LIME: a unit is a word
        positions_of = positions_of_words(row["text"], token_spans(tokenizer, row["text"])[1])

    def positions(units):
        return [position for unit in units for position in positions_of[unit]]

    top = positions(largest(scores(row), k))
    masked = tuple(tokenizer.mask_token_id if i in top else x for i, x in enumerate(ids))
    rng, units = np.random.default_rng(sentence_seed(0, row["text"])), [*positions_of]
    random = [remove(ids, positions(rng.permutation(units)[:k])) for _ in range(RANDOM_DRAWS)]
    return {"top": remove(ids, top), "masked": masked, "random": random}


def drop_and_flip(row, p):
    """3.7 (1), for a sentence x and its changed form x' with probabilities p (5,). The drop is
    p(y|x) - p(y|x'), where y is the class predicted for x (A14). It is a flip when another class is
    predicted for x'."""
    y = row["predicted"]
    return row["probabilities"][y] - p[y], p.argmax() != y


def faithfulness(model, tokenizer, methods):
    """A row for each explainer, sentence and k. methods: {explainer: rows}."""
    cases, inputs = [], []
    for method, rows in methods.items():
        for row, k in product(rows, KS):
            changed = changed_inputs(tokenizer, row, k)
            cases.append((method, k, row, changed))
            inputs += [changed["top"], changed["masked"], *changed["random"]]
    p = dict(zip(inputs, predict_proba(model, tokenizer, inputs)))  # many inputs are equal
    result = []
    for method, k, row, changed in cases:
        drop, flip = drop_and_flip(row, p[changed["top"]])
        masked_drop, masked_flip = drop_and_flip(row, p[changed["masked"]])
        random_drop, random_flip = np.mean(
            [drop_and_flip(row, p[ids]) for ids in changed["random"]], axis=0)
        result.append({"explainer": method, "k": k, "id": row["id"],
                       "confidence_drop": drop, "masked_drop": masked_drop,
                       "random_drop": random_drop, "drop_over_random": drop - random_drop,
                       "flip": flip, "masked_flip": masked_flip,
                       "random_flip": random_flip, "flip_over_random": flip - random_flip})
    return result


def short_token_ratio(words, characters=3):
    """Share of the words that have at most 3 characters (A15); NaN without a word."""
    return np.mean([len(word) <= characters for word in words]) if words else math.nan


def short_tokens(row):
    """Table 1: the short-token ratio of the words that LIME chose; its baseline, of all words."""
    return {"id": row["id"], "short_token_ratio": short_token_ratio(row["words"]),
            "short_share_of_words": short_token_ratio(list(scores(row).index))}


# --- 3.7 (2, 3), 4.3 and 4.4: agreement and direction

def chance_agreement(n, k):
    """Expected (Jaccard, Overlap) of two random sets of k of n tokens: their intersection is
    hypergeometric. It rises as sentences get shorter (Kamp et al. 2023, arXiv 2310.05619)."""
    size = min(n, k)
    p = [comb(size, m) * comb(n - size, size - m) / comb(n, size) for m in range(size + 1)]
    expected_jaccard = sum(q * m / (2 * size - m) for m, q in enumerate(p)) if n else math.nan
    return expected_jaccard, sum(q * m / k for m, q in enumerate(p))


def agreement(a, b, k):
    """Jaccard, |A n B| / |A u B|, and Overlap, |A n B| / k (A16), of the top k of two explanations
    (series) of one sentence, beside those that chance gives."""
    first, second = set(largest(a, k)), set(largest(b, k))
    both, either = len(first & second), len(first | second)
    chance_jaccard, chance_overlap = chance_agreement(len(a), k)
    return {"k": k, "jaccard": both / either if either else math.nan, "overlap": both / k,
            "chance_jaccard": chance_jaccard, "chance_overlap": chance_overlap}


def direction(first, second):
    """Three cosines of two explained rows of one sentence (A17). cosine is over all tokens (4.4:
    "attribution vectors"), cosine_top10 over those in the top 10 of either row (3.7: "top-k token
    contributions"); in both each model explains its own predicted class. polarity_cosine is over
    all tokens, and both models explain the polarity score."""
    a, b = scores(first), scores(second)
    top = list(dict.fromkeys(largest(a, KS[-1]) + largest(b, KS[-1])))
    return {"cosine": cosine(a, b), "cosine_top10": cosine(a[top], b[top]),
            "polarity_cosine": cosine(scores(first, polarity=True),
                                      scores(second, polarity=True)),
            "same_prediction": first["predicted"] == second["predicted"]}


def explainer_agreement(methods):
    """3.7 (2), pair 4: two explainers of one model, on words, where both explain a sentence. The
    column "explainer" names both: "shap/lime"."""
    result = []
    for pair in EXPLAINER_PAIRS:
        first, second = pair.split("/")
        others = {row["id"]: row for row in methods[second]}
        for row in [row for row in methods[first] if row["id"] in others]:
            a, b = word_scores(row), word_scores(others[row["id"]])
            result += [{"explainer": pair, "id": row["id"]} | agreement(a, b, k) for k in KS]
    return result


def relative_completeness_gap(row):
    """Of integrated gradients: the largest completeness gap of the five classes, divided by the
    largest |p(x) - p(reference)| of the five; NaN where no p changes by more than 1e-6, which is
    rounding."""
    change = np.abs(np.array(row["probabilities"]) - row["base_values"]).max()
    return max(row["completeness_gap"]) / change if change > 1e-6 else math.nan


# --- Comparisons of models. explained: {(model, seed): {explainer: rows}}

def check_tokens(explained):
    """Stops where two models' tokenizers cut a sentence differently: token 3 would not be the same
    token (A3)."""
    (first, methods), *others = explained.items()
    for other, other_methods in others:
        for row, other_row in zip(methods["shap"], other_methods["shap"]):
            if row["spans"] != other_row["spans"]:
                stop(f"the tokenizers of {first[0]}_{first[1]} and {other[0]}_{other[1]} cut "
                     f"{row['id']} differently; only models of one vocabulary can be compared")


def model_pairs(explained):
    """[(seed, pair, explained rows of its first model, of its second)]. The pairs are the paper's
    (3.7 (2)), BERT with each further model, all of one seed; and "bert/bert_next", BERT of a seed
    with BERT of the next one."""
    further = dict.fromkeys(model for model, _ in explained if model not in PAPER_MODELS)
    names = [*PAIRS, *(f"bert/{model}" for model in further)]
    pairs = []
    for seed, pair in product(dict.fromkeys(seed for _, seed in explained), names):
        first, second = pair.split("/")
        if (first, seed) in explained and (second, seed) in explained:
            pairs.append((seed, pair, explained[first, seed], explained[second, seed]))
    seeds = [seed for model, seed in explained if model == "bert"]
    next_seeds = seeds[1:]
    if len(seeds) > 2:  # the next of the last is the first; two BERTs are one pair
        next_seeds.append(seeds[0])
    for seed, next_seed in zip(seeds, next_seeds):
        pairs.append((seed, "bert/bert_next", explained["bert", seed],
                      explained["bert", next_seed]))
    return pairs


def compare_models(explained, bucket_of):
    """Tables 2 and 3: the rows of agreement and of direction, for each pair and explainer. Seed and
    bucket of "bert/bert_next" are those of the first BERT. An explainer that one of the two models
    lacks gives no rows."""
    agreements, directions = [], []
    for (seed, pair, first, second), method in product(model_pairs(explained), METHODS):
        for a, b in zip(first[method], second[method]):
            keys = {"seed": seed, "pair": pair, "explainer": method, "id": a["id"],
                    "bucket": bucket_of.get((seed, a["id"]))}
            directions.append(keys | direction(a, b))
            agreements += [keys | agreement(scores(a), scores(b), k) for k in KS]
    return agreements, directions


def add_comparisons(predictions):
    """Adds to each row as_bert, whether BERT of its seed predicts the same class, and bucket (3.7
    (5)), for which all of the paper's models are needed; null where they are not there."""
    sentences = {}  # {(seed, id): {model: its row}}
    for row in predictions:
        sentences.setdefault((row["seed"], row["id"]), {})[row["model"]] = row
    for of_model in sentences.values():
        bert, bucket = of_model.get("bert"), None
        if set(PAPER_MODELS) <= of_model.keys():
            bucket = BUCKETS[tuple(of_model[model]["right"] for model in PAPER_MODELS)]
        for row in of_model.values():
            row["as_bert"] = None if bert is None else row["predicted"] == bert["predicted"]
            row["bucket"] = bucket


def measure_model(artifacts, model_name, seed, methods, test, device):
    """{measure: rows} of one model. methods: {explainer: rows}; test: the test split.
    training_seconds are of all epochs, also those after the best one; milliseconds, of a forward
    pass, are a mean over the explained sentences."""
    model, tokenizer = load_classifier(artifacts, f"{model_name}_{seed}", device)
    log = read_json(artifacts / f"models/{model_name}_{seed}/training_log.json")
    p = predict_proba(model, tokenizer, [row["text"] for row in test])
    texts, started = [row["text"] for row in methods["shap"]], time.perf_counter()
    predict_proba(model, tokenizer, texts)
    milliseconds = 1000 * (time.perf_counter() - started) / len(texts)
    checkpoint = read_json(artifacts / f"settings/{model_name}.json")["notes"]["checkpoint"]
    measured = {
        "models": [{"checkpoint": checkpoint, "type": model.config.model_type,
                    "layers": model.config.num_hidden_layers, "parameters": model.num_parameters(),
                    "training_seconds": sum(epoch["seconds"] for epoch in log),
                    "milliseconds": milliseconds}],
        "predictions": [{"id": row["id"], "label": row["label"], "predicted": int(q.argmax()),
                         "confidence": q.max(), "right": bool(q.argmax() == row["label"])}
                        for row, q in zip(test, p)],
        "faithfulness": faithfulness(model, tokenizer, methods),
        "short_tokens": [short_tokens(row) for row in methods["lime"]],
        "explainers": explainer_agreement(methods),
        "completeness": [{"id": row["id"], "relative_gap": relative_completeness_gap(row)}
                         for row in methods["ig"]]}
    of_model = {"seed": seed, "model": model_name}
    return {measure: [of_model | row for row in rows] for measure, rows in measured.items()}


def parse_args(argv=None):
    return cli(__doc__, "--data", "--device").parse_args(argv)


def main(args):
    (device, splits), artifacts = open_run(args), Path(args.artifacts)
    subset, explained = load_subset(artifacts), {}
    for model, seed in explained_models(artifacts, subset):
        explained[model, seed] = {
            method: load_explanations(artifacts, model, seed, method, subset)
            for method in METHODS + PARTIAL_METHODS}
    check_tokens(explained)

    measures = {"labels": [  # Figure 1, of all three splits (A1)
        {"split": split, "label": label, "sentences": [row["label"] for row in rows].count(label)}
        for split, rows in splits.items() for label in range(len(LABELS))]}
    for (model, seed), methods in explained.items():
        measured = measure_model(artifacts, model, seed, methods, splits["test"], device)
        for measure, rows in measured.items():
            measures[measure] = measures.get(measure, []) + rows
        print(f"{model}_{seed}: measured", flush=True)
    add_comparisons(measures["predictions"])
    bucket_of = {(row["seed"], row["id"]): row["bucket"] for row in measures["predictions"]}
    measures["agreement"], measures["direction"] = compare_models(explained, bucket_of)
    for measure, rows in measures.items():
        write_jsonl(artifacts / f"measures/{measure}.jsonl", rows)

    table = pd.DataFrame(measures["faithfulness"]).query("explainer == 'shap' and k == 3")
    table = table.groupby(["seed", "model"], sort=False)[
        ["confidence_drop", "random_drop", "flip", "random_flip"]].mean()
    test = pd.DataFrame(measures["predictions"]).groupby(["seed", "model"])
    table.insert(0, "accuracy", test["right"].mean())
    print(table.to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    run(main, parse_args())
