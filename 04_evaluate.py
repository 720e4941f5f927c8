"""Sections 3.7 (1, 2, 3) and 4.1-4.4: measure accuracy, faithfulness, agreement and direction.

The formulas are of one sentence; 06_figures.py averages over sentences and seeds.

Reads   the text (--data); subset.jsonl; models/<model>_<seed>/; the explanations of this model, and
        of those that it is compared with; settings/
Writes  measures/<measure>.<model>_<seed>.jsonl: models, one row; predictions (Figure 4), a row per
        test sentence; and of the explained sentences, with a row for each explainer and k that the
        measure distinguishes, faithfulness and short_tokens (Table 1), explainers (3.7 (2)),
        completeness (how exactly integrated gradients sum up), agreement (Table 2) and direction
        (Table 3). Agreement and direction are of pairs of models: they stand with the pair's second

    python 04_evaluate.py --data SetFit/sst5 --artifacts artifacts
    python 04_evaluate.py --model kd_tinybert --seed 42

Without --model it measures all models of all seeds that 03 explained. Everything is computed anew
each time, so a changed formula changes the number.
"""
import math
import re
import time
from itertools import product
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd

from common import (KS, PAIRS, cli, cosine, device_and_text, explained_models, load_classifier,
                    load_explanations, load_subset, polarity_attributions, predict_proba,
                    predicted_attributions, read_json, remove, run, sentence_seed, stop, token_ids,
                    token_spans, top_k, write_jsonl)

METHODS = ("shap", "lime", "ig")  # by each of them models are compared
VARIANTS = ("shap_mask", "lime_resampled")  # run_all.sh: 30 sentences of BERT of the first seed
EXPLAINER_PAIRS = ("shap/lime", "shap/ig", "lime/ig", "shap/shap_mask", "lime/lime_resampled")
RANDOM_DRAWS = 5  # random removals a sentence


# --- 3.6: an explanation as a pandas Series of signed scores. What is scored is its index: the
# positions of wordpieces (A3), or for LIME words, each of which stands for all its occurrences.

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
    LIME words take the place of tokens, and all occurrences of a word are removed.

    The random ones come from NumPy's default_rng with the seed CRC-32 of "0 <text>", made anew in
    each call: so they are the same for every model, and those of k = 3 are among those of k = 5."""
    ids = token_ids(tokenizer, row["text"])
    if "words" in row:  # LIME
        places = positions_of_words(row["text"], token_spans(tokenizer, row["text"])[1])
    else:
        places = {position: [position] for position in range(len(ids))}

    def positions(units):  # of the wordpieces of these tokens or words
        return [position for unit in units for position in places[unit]]

    top = positions(largest(scores(row), k))
    masked = tuple(tokenizer.mask_token_id if i in top else x for i, x in enumerate(ids))
    rng, units = np.random.default_rng(sentence_seed(0, row["text"])), list(places)
    random = [remove(ids, positions(rng.permutation(units)[:k])) for _ in range(RANDOM_DRAWS)]
    return {"top": remove(ids, top), "masked": masked, "random": random}


def drop_and_flip(row, p):
    """3.7 (1), for a sentence x and its changed form x' with probabilities p (5,). The drop is
    p(y|x) - p(y|x'), where y is the class predicted for x (A14). It is a flip if another class is
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
        by_second = {row["id"]: row for row in methods[second]}
        for row in methods[first]:
            if row["id"] in by_second:
                a, b = word_scores(row), word_scores(by_second[row["id"]])
                result += [{"explainer": pair, "id": row["id"]} | agreement(a, b, k) for k in KS]
    return result


def relative_completeness_gap(row):
    """Of integrated gradients: the largest completeness gap of the five classes, divided by the
    largest |p(x) - p(reference)| of the five; NaN if the latter is below 1e-6, so rounding."""
    change = np.abs(np.array(row["probabilities"]) - row["base_values"]).max()
    return max(row["completeness_gap"]) / change if change > 1e-6 else math.nan


# --- 3.7 (2, 3): pairs of models. methods: {explainer: its explained rows of a model}

def pairs_of(model, seed):
    """[(pair, model and seed of its first)] in which this model is the second: the paper's pairs
    (3.7 (2)), BERT with each further model, and "bert/bert_next", BERT of seed - 1 and
    BERT of this seed."""
    if model == "bert":
        return [("bert/bert_next", "bert", seed - 1)]
    pairs = [pair for pair in PAIRS if pair.endswith(f"/{model}")] or [f"bert/{model}"]
    return [(pair, pair.partition("/")[0], seed) for pair in pairs]


def compare(first, second):
    """(rows of agreement, rows of direction) of two models, each given as methods. An explainer
    that one of them lacks gives no rows."""
    agreements, directions = [], []
    for method in METHODS:
        for a, b in zip(first[method], second[method]):
            keys = {"explainer": method, "id": a["id"]}
            agreements += [keys | agreement(scores(a), scores(b), k) for k in KS]
            directions.append(keys | direction(a, b))
    return agreements, directions


def check_tokens(first, second, names):
    """Stops where two models' tokenizers cut a sentence differently: tokens are compared (A3)."""
    for a, b in zip(first["shap"], second["shap"]):
        if a["spans"] != b["spans"]:
            stop(f"the tokenizers of {names} cut {a['id']} differently; their vocabularies differ")


# --- One model of one seed at a time

def measure_model(artifacts, name, methods, test, device):
    """{measure: rows} of what is of one model alone. test: the test split. training_seconds are of
    all epochs, also those after the best one; milliseconds, those of predict_proba() for a test
    sentence, with tokenizing and padding."""
    model, tokenizer = load_classifier(artifacts, name, device)
    log = read_json(artifacts / "models" / name / "training_log.json")
    trained = read_json(artifacts / "settings" / f"{name.rpartition('_')[0]}.json")
    started = time.perf_counter()
    p = predict_proba(model, tokenizer, [row["text"] for row in test])
    milliseconds = 1000 * (time.perf_counter() - started) / len(test)
    return {
        "predictions": [{"id": row["id"], "label": row["label"], "predicted": int(q.argmax()),
                         "confidence": q.max(), "right": bool(q.argmax() == row["label"])}
                        for row, q in zip(test, p)],
        "faithfulness": faithfulness(model, tokenizer, methods),
        "short_tokens": [short_tokens(row) for row in methods["lime"]],
        "explainers": explainer_agreement(methods),
        "completeness": [{"id": row["id"], "relative_gap": relative_completeness_gap(row)}
                         for row in methods["ig"]],
        "models": [{"checkpoint": trained["notes"]["checkpoint"],
                    "checkpoint_digest": trained["checkpoint_digest"],
                    "type": model.config.model_type, "layers": model.config.num_hidden_layers,
                    "parameters": model.num_parameters(),
                    "training_seconds": sum(epoch["seconds"] for epoch in log),
                    "milliseconds": milliseconds}]}


def parse_args(argv=None):
    return cli(__doc__, "--data", "--device", "--seed", "--model").parse_args(argv)


def main(args):
    (device, splits), artifacts = device_and_text(args), Path(args.artifacts)
    subset = load_subset(artifacts)

    def explanations(model, seed, methods):
        return {method: load_explanations(artifacts, model, seed, method, subset)
                for method in methods}

    for model, seed in explained_models(args, subset):
        name, keys = f"{model}_{seed}", {"seed": seed, "model": model}
        own = explanations(model, seed, METHODS + VARIANTS)
        used = [f"{name}.{method}" for method in own if own[method]]
        measures = {"agreement": [], "direction": []}
        for pair, other, other_seed in pairs_of(model, seed):
            first, other_name = explanations(other, other_seed, METHODS), f"{other}_{other_seed}"
            check_tokens(first, own, f"{other_name} and {name}")
            used += [f"{other_name}.{method}" for method in first if first[method]]
            for measure, rows in zip(measures, compare(first, own)):
                measures[measure] += [{"seed": other_seed, "pair": pair} | row for row in rows]
        for measure, rows in measure_model(artifacts, name, own, splits["test"], device).items():
            measures[measure] = [keys | row for row in rows]
        measures["models"][0]["explanations"] = used  # delete_measures_of() reads it
        for measure, rows in measures.items():  # models last: where it is there, all are
            write_jsonl(artifacts / f"measures/{measure}.{name}.jsonl", rows)
        print(f"{name}: measured", flush=True)


if __name__ == "__main__":
    run(main, parse_args())
