"""Sections 3.7 (1, 2, 3, 5) and 4.1-4.4: measure accuracy, faithfulness, agreement and direction.

Each measure is a formula of one sentence, and its file has one row per sentence. No mean is
computed: 06_figures.py makes the paper's tables from these rows.

Reads   the text (--data); subset.jsonl; explanations/ and models/ of all models that are explained
Writes  to measures/: labels.jsonl (Figure 1), short_tokens.jsonl (Table 1), agreement.jsonl (Table
        2), direction.jsonl (Table 3), explainers.jsonl, completeness.jsonl, buckets.jsonl (3.7);
        for each model models.<model>_<seed>.jsonl, predictions.<model>_<seed>.jsonl (Figure 4) and
        faithfulness.<model>_<seed>.jsonl (Table 1); stamps

    python 04_evaluate.py --data SetFit/sst5 --artifacts artifacts

Run it again after each further model or seed: only models with new weights or explanations are
scored. That takes one minute per model on a T4 (an estimate), one to three on two CPU cores.
"""
import math
import re
from itertools import chain, product
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd

from common import (KS, LABELS, PAIRS, PAPER_MODELS, cli, cosine, digest, explained_models,
                    load_classifier, load_explanations, load_splits, load_subset, make_stamp,
                    model_stamp, pick_device, polarity_attributions, predict_proba,
                    predicted_attributions, read_json, read_jsonl, remove, run, sentence_seed, stop,
                    token_ids, token_spans, top_k, weights_digest, write_json, write_jsonl)

EXPLAINERS = ("shap", "lime", "ig")  # of all sentences
VARIANTS = ("shap_mask", "lime_seed")  # of some sentences, for BERT of the first seed
EXPLAINER_PAIRS = (("shap", "lime"), ("shap", "ig"), ("lime", "ig"),
                   ("shap", "shap_mask"), ("lime", "lime_seed"))
RANDOM_DRAWS = 5  # random removals a sentence
BUCKETS = {  # 3.7 (5): whether BERT, DistilBERT and KD-TinyBERT are right
    (True, True, True): "all_correct", (False, False, False): "all_wrong",
    (True, False, False): "bert_only", (False, True, False): "dbert_only",
    (False, False, True): "kd_only", (True, False, True): "bert_kd_pair",
    (False, True, True): "dbert_kd_pair", (True, True, False): "bert_dbert"}


# --------------------------------------------------------------------------------------------------
# 3.6: an explanation as a series of signed scores. Its index is the units of the sentence in order:
# wordpieces by position (A3), or LIME's words, each with all its occurrences.

def scores(row, polarity=False):
    """The series of an explained sentence, of the predicted class or of the polarity score. A word
    that LIME did not choose scores 0."""
    if "words" in row:
        prefix, words = "polarity_" if polarity else "", re.findall(r"\w+", row["text"])
        chosen = dict(zip(row[f"{prefix}words"], row[f"{prefix}attributions"]))
        return pd.Series(dict.fromkeys(words, 0.0) | chosen, dtype=float)
    return pd.Series(polarity_attributions(row) if polarity else predicted_attributions(row))


def top_units(series, k):
    """The k units of largest |score|, largest first (A5)."""
    return list(series.index[top_k(series, k)])


def word_pieces(text, spans):
    """{word: positions of the wordpieces of all its occurrences}. spans: [start, end] of each."""
    pieces = {}
    for word in re.finditer(r"\w+", text):
        inside = [p for p, (a, b) in enumerate(spans) if a < word.end() and word.start() < b]
        pieces.setdefault(word.group(), []).extend(inside)
    return pieces


def word_scores(row):
    """The series over words, to compare explainers: a word's wordpieces are added up."""
    if "words" in row:
        return scores(row)
    phi, pieces = predicted_attributions(row), word_pieces(row["text"], row["spans"])
    return pd.Series({word: phi[where].sum() for word, where in pieces.items()}, dtype=float)


# --------------------------------------------------------------------------------------------------
# 3.7 (1) and 4.2: faithfulness

def drop_and_flip(row, p):
    """p(y|x) - p(y|x'), y the class predicted for x (A14), and whether x' gets another class, of m
    changed sentences x' with probabilities p (m, 5). Both (m,)."""
    y = row["predicted"]
    return row["probabilities"][y] - p[:, y], p.argmax(1) != y


def changed_inputs(tokenizer, row, k):
    """One sentence as wordpiece ids: without its top k units (A4), with [MASK] in their place, and,
    RANDOM_DRAWS times, without k random units: the same ones for every model."""
    ids, (_, spans) = token_ids(tokenizer, row["text"]), token_spans(tokenizer, row["text"])
    pieces = {position: [position] for position in range(len(ids))}
    if "words" in row:
        pieces = word_pieces(row["text"], spans)

    def positions(units):
        return [position for unit in units for position in pieces[unit]]

    top = positions(top_units(scores(row), k))
    masked = tuple(tokenizer.mask_token_id if i in top else x for i, x in enumerate(ids))
    changed, units = [remove(ids, top), masked], list(pieces)
    rng = np.random.default_rng(sentence_seed(0, row["text"]))
    for _ in range(RANDOM_DRAWS):
        drawn = [units[i] for i in rng.permutation(len(units))[:k]]
        changed.append(remove(ids, positions(drawn)))
    return changed


def faithfulness(model, tokenizer, methods):
    """A row for each explainer, sentence and k. methods: {explainer: rows}. The changed sentences
    are scored in one call, because many of them are equal."""
    cases = []
    for method, rows in methods.items():
        cases += [(method, row, k) for row, k in product(rows, KS)]
    inputs = chain.from_iterable(changed_inputs(tokenizer, row, k) for _, row, k in cases)
    p = predict_proba(model, tokenizer, list(inputs)).reshape(len(cases), -1, len(LABELS))
    result = []
    for (method, row, k), p_changed in zip(cases, p):
        drops, flips = drop_and_flip(row, p_changed)  # in the order of changed_inputs
        result.append({"explainer": method, "k": k, "id": row["id"],
                       "confidence_drop": drops[0], "flip": flips[0],
                       "masked_drop": drops[1], "masked_flip": flips[1],
                       "random_drop": drops[2:].mean(), "random_flip": flips[2:].mean()})
    return result


def short_token_ratio(words, characters=3):
    """Share of the words that have at most 3 characters (A15); NaN without a word."""
    return np.mean([len(word) <= characters for word in words]) if words else math.nan


def short_tokens(row):
    """Table 1: of the words that LIME chose in a sentence, beside all its words."""
    return {"id": row["id"], "short_token_ratio": short_token_ratio(row["words"]),
            "short_share_of_words": short_token_ratio(list(scores(row).index))}


# --------------------------------------------------------------------------------------------------
# 3.7 (2, 3), 4.3 and 4.4: agreement and direction

def jaccard(a, b):
    """|A n B| / |A u B|; undefined for two empty sets."""
    return len(a & b) / len(a | b) if a | b else math.nan


def overlap(a, b, k):
    """|A n B| / k, also where a sentence has fewer than k tokens (A16)."""
    return len(a & b) / k


def chance_agreement(n, k):
    """Expected (Jaccard, Overlap) of two random sets of k of n tokens: their intersection is
    hypergeometric. It rises as sentences get shorter (Kamp et al. 2023, arXiv 2310.05619)."""
    size = min(n, k)
    p = [comb(size, m) * comb(n - size, size - m) / comb(n, size) for m in range(size + 1)]
    expected_jaccard = sum(q * m / (2 * size - m) for m, q in enumerate(p)) if n else math.nan
    return expected_jaccard, sum(q * m / k for m, q in enumerate(p))


def agreement(a, b, k):
    """Of the top k units of two explanations (series) of one sentence, beside chance."""
    first, second = set(top_units(a, k)), set(top_units(b, k))
    chance_jaccard, chance_overlap = chance_agreement(len(a), k)
    return {"k": k, "n_tokens": len(a), "jaccard": jaccard(first, second),
            "overlap": overlap(first, second, k), "chance_jaccard": chance_jaccard,
            "chance_overlap": chance_overlap}


def direction(first, second):
    """Of two explained rows of one sentence (A17): the cosine over all tokens (4.4: "attribution
    vectors") and over those in the top 10 of either (3.7: "top-k token contributions"), each model
    for its own predicted class; and over all tokens for the polarity score, the same for both."""
    a, b = scores(first), scores(second)
    top = list(dict.fromkeys(top_units(a, KS[-1]) + top_units(b, KS[-1])))
    return {"cosine": cosine(a, b), "cosine_top10": cosine(a[top], b[top]),
            "polarity_cosine": cosine(scores(first, True), scores(second, True)),
            "same_prediction": first["predicted"] == second["predicted"]}


def explainer_agreement(methods):
    """3.7 (2), pair 4: two explainers of one model, on words, where both explain a sentence."""
    result = []
    for first, second in EXPLAINER_PAIRS:
        others = {row["id"]: row for row in methods[second]}
        for row in [row for row in methods[first] if row["id"] in others]:
            a, b = word_scores(row), word_scores(others[row["id"]])
            keys = {"first": first, "second": second, "id": row["id"]}
            result += [keys | agreement(a, b, k) for k in KS]
    return result


def completeness(row):
    """Of integrated gradients: the largest completeness gap / the largest |p(x) - p(reference)|."""
    change = np.abs(np.array(row["probabilities"]) - row["base_values"]).max()
    gap = max(row["completeness_gap"]) / change if change else math.nan
    return {"id": row["id"], "relative_gap": gap}


# --------------------------------------------------------------------------------------------------
# Comparisons. explained: {(model, seed): {explainer: rows}}

def load_explained(artifacts, subset):
    """{(model, seed): {explainer: rows}} of all models that are explained."""
    explained = {}
    for model, seed in explained_models(artifacts):
        rows = {m: load_explanations(artifacts, model, seed, m, subset) for m in EXPLAINERS}
        rows |= {m: load_explanations(artifacts, model, seed, m) for m in VARIANTS}
        explained[model, seed] = rows
    return explained


def check_alike(artifacts, explained):
    """Each explainer's arguments; stops unless these and the tokens are alike for all models."""
    settings = {}
    for (model, seed), methods in explained.items():
        found = {"tokens": digest([row["spans"] for row in methods["shap"]])}
        for method in [m for m in methods if methods[m]]:
            path = artifacts / "explanations" / f"{model}_{seed}.{method}.stamp.json"
            found[method] = read_json(path)["arguments"]
        for what, value in found.items():
            if value != settings.setdefault(what, value):
                stop(f"the {what} of {model}_{seed} ({value}) and of the models before it "
                     f"({settings[what]}) differ; 03_explain.py --overwrite explains anew")
    return settings


def with_retrained(explained):
    """Adds BERT of the next seed as "bert_retrained" of each seed: how much two BERTs agree. The
    last seed is paired with the first; with two seeds there is only one pair."""
    seeds = [seed for model, seed in explained if model == "bert"]
    pairs = list(zip(seeds, seeds[1:]))
    if len(seeds) > 2:
        pairs.append((seeds[-1], seeds[0]))
    return explained | {("bert_retrained", seed): explained["bert", other] for seed, other in pairs}


def model_pairs(explained):
    """[(seed, first, second)]: the paper's pairs (3.7 (2)), and BERT with each further model."""
    further = dict.fromkeys(model for model, _ in explained if model not in PAPER_MODELS)
    pairs, seeds = [*PAIRS, *product(["bert"], further)], dict.fromkeys(s for _, s in explained)
    return [(seed, *pair) for seed, pair in product(seeds, pairs)
            if all((model, seed) in explained for model in pair)]


def compare_models(explained):
    """Tables 2 and 3: the rows of agreement and of direction, for each pair and explainer."""
    agreements, directions = [], []
    for seed, first, second in model_pairs(explained):
        for method in EXPLAINERS:
            for a, b in zip(explained[first, seed][method], explained[second, seed][method]):
                keys = {"seed": seed, "first": first, "second": second, "explainer": method,
                        "id": a["id"]}
                directions.append(keys | direction(a, b))
                agreements += [keys | agreement(scores(a), scores(b), k) for k in KS]
    return agreements, directions


def label_counts(splits):
    """Figure 1: sentences of each label in each split."""
    rows = []
    for split, sentences in splits.items():
        counts = np.bincount([row["label"] for row in sentences], minlength=len(LABELS))
        rows += [{"split": split, "label": label, "sentences": n} for label, n in enumerate(counts)]
    return rows


def buckets(test):
    """3.7 (5): which of the three models are right. test: the frame of all predictions."""
    right = test.pivot(index=["seed", "id"], columns="model", values="right")
    right = right.reindex(columns=PAPER_MODELS).dropna()  # no seed without all three
    return [{"seed": seed, "id": sentence, "bucket": BUCKETS[tuple(outcome)]}
            for (seed, sentence), *outcome in right.itertuples()]


def measure_model(artifacts, model, seed, splits, methods, device):
    """Write the measures that need the model's predictions, unless they are there for the same
    weights, text and explanations. Returns two of them: the rows of predictions, for the whole test
    split, and of faithfulness."""
    name, folder, keys = f"{model}_{seed}", artifacts / "measures", {"seed": seed, "model": model}
    inputs = {"weights": weights_digest(artifacts, name, splits), "text": digest(splits)}
    inputs |= {method: digest(rows) for method, rows in methods.items()}
    stamp = make_stamp({"k": list(KS), "random_draws": RANDOM_DRAWS}, inputs, device)
    path = folder / f"{name}.stamp.json"
    if not path.is_file() or any(read_json(path)[x] != stamp[x] for x in ("arguments", "inputs")):
        path.unlink(missing_ok=True)
        classifier, tokenizer = load_classifier(artifacts, name, device)
        made, test = model_stamp(artifacts, name)["arguments"], splits["test"]
        p = predict_proba(classifier, tokenizer, [row["text"] for row in test])
        measured = {
            "models": [{key: made.get(key) for key in ("checkpoint", "keep_layers", "teacher")}
                       | {"parameters": classifier.num_parameters(),
                          "layers": classifier.config.num_hidden_layers}],
            "predictions": [{"id": row["id"], "label": row["label"], "predicted": q.argmax(),
                             "confidence": q.max()} for row, q in zip(test, p)],
            "faithfulness": faithfulness(classifier, tokenizer, methods)}
        for what, rows in measured.items():
            write_jsonl(folder / f"{what}.{name}.jsonl", [keys | row for row in rows])
        write_json(path, stamp)
        print(f"{name}: measured", flush=True)
    return [read_jsonl(folder / f"{x}.{name}.jsonl") for x in ("predictions", "faithfulness")]


def parse_args(argv=None):
    return cli(__doc__, data=True, device=True).parse_args(argv)


def main():
    args = parse_args()
    device, artifacts = pick_device(args.device), Path(args.artifacts)
    splits, subset = load_splits(args.data), load_subset(artifacts)
    explained = load_explained(artifacts, subset)
    settings = check_alike(artifacts, explained)

    measures = {"labels": label_counts(splits)}  # Figure 1
    measures |= {"short_tokens": [], "completeness": [], "explainers": []}
    predictions, removals, weights = [], [], {}
    for (model, seed), methods in explained.items():  # Figure 4, Table 1
        measured = measure_model(artifacts, model, seed, splits, methods, device)
        predictions, removals = predictions + measured[0], removals + measured[1]
        who = {"seed": seed, "model": model}
        measures["short_tokens"] += [who | short_tokens(row) for row in methods["lime"]]
        measures["completeness"] += [who | completeness(row) for row in methods["ig"]]
        measures["explainers"] += [who | row for row in explainer_agreement(methods)]
        weights[f"{model}_{seed}"] = weights_digest(artifacts, f"{model}_{seed}")
    test = pd.DataFrame(predictions)
    test["right"] = test["label"] == test["predicted"]
    measures["buckets"] = buckets(test)
    measures["agreement"], measures["direction"] = compare_models(with_retrained(explained))
    for name, rows in measures.items():
        write_jsonl(artifacts / f"measures/{name}.jsonl", rows)
    inputs = {"subset": digest(subset), "text": digest(splits), "weights": weights}
    write_json(artifacts / "measures/04_evaluate.stamp.json", make_stamp(settings, inputs, device))

    top3 = pd.DataFrame(removals).query("explainer == 'shap' and k == 3")
    columns = ["confidence_drop", "random_drop", "flip", "random_flip"]
    means = top3.groupby(["seed", "model"], sort=False)[columns].mean()
    means.insert(0, "accuracy", test.groupby(["seed", "model"])["right"].mean())
    print(means.to_string(float_format="{:.3f}".format))
    return args


if __name__ == "__main__":
    run(main)
