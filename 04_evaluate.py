"""Sections 3.7 (1, 2, 3, 5) and 4.1-4.4: accuracy, faithfulness, agreement, direction, buckets, cost.

Reads   models/<name>/ and the text (--data) to score the test split and what is left after a removal;
        subset.jsonl, explanations/<name>.shap.jsonl, explanations/<name>.lime.jsonl
Writes  tables/figure1.json (label counts), figure4.json (accuracy, F1), table1.json (faithfulness, Figure 5),
        table2.json (agreement, Figure 6), table3.json (cosine, Figure 7), figure8.json (projection), buckets.json;
        timing.json (parameters, latency)

    python 04_evaluate.py
    python 04_evaluate.py --k 3 5 10 --controls bert_seed43

A minute on a T4 (an estimate, not measured). A mean stands with its SD, n and 95% interval (common.summary).
"""
import re
import time
from math import comb
from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score

from common import (KS, LABELS, MODELS, PAIRS, SEED, cli, cosine, digest, load_classifier, load_explanations, load_splits,
                    load_subset, make_stamp, model_name, own_class, pick_device, positive, predict_proba, remove, run,
                    sentence_seed, stop, summary, token_ids, top_k, write_json)

BUCKETS = {  # 3.7 (5): (BERT, DistilBERT, KD-TinyBERT) right or wrong
    "all_correct": (1, 1, 1), "all_wrong": (0, 0, 0), "bert_only": (1, 0, 0), "dbert_only": (0, 1, 0), "kd_only": (0, 0, 1),
    "bert_kd_pair": (1, 0, 1), "dbert_kd_pair": (0, 1, 1), "bert_dbert": (1, 1, 0)}


# ---------------------------------------------------------------------------------------------------------------------
# 4.1 Accuracy and F1

def scores(gold, predicted):
    """Figure 4: accuracy and weighted F1 (4.1), with macro F1, F1 of each class and the confusion matrix beside them."""
    classes, gold = range(len(LABELS)), np.asarray(gold)

    def f1(average, at=slice(None)):
        return f1_score(gold[at], predicted[at], labels=classes, average=average, zero_division=0)

    def with_interval(average):  # F1 is no mean over sentences: it is computed anew for each bootstrap sample
        rng = np.random.default_rng(SEED)
        draws = [f1(average, rng.integers(len(gold), size=len(gold))) for _ in range(200)]
        low, high = np.percentile(draws, [2.5, 97.5])
        return {"mean": f1(average), "sd": None, "low": low, "high": high, "n": len(gold)}

    return {"accuracy": summary(gold == predicted), "weighted_f1": with_interval("weighted"),
            "macro_f1": with_interval("macro"), "class_f1": f1(None),
            "confusion": confusion_matrix(gold, predicted, labels=classes)}


# ---------------------------------------------------------------------------------------------------------------------
# 4.2 Faithfulness (3.7 (1))

def ranked_units(method, explanation, ids):
    """The units of a sentence from most to least important, each a list of wordpiece positions. ids: its wordpieces.

    SHAP: wordpieces by |phi| for the predicted class. LIME: words, each with all the wordpieces of all its occurrences.
    random: wordpieces in an arbitrary order: the control that says what removing any k would do.
    """
    if method == "shap":
        return [[p] for p in top_k(own_class(explanation), len(ids))]
    if method == "random":
        return [[p] for p in np.random.default_rng(sentence_seed(0, explanation["text"])).permutation(len(ids))]
    return [[p for p, (start, end) in enumerate(explanation["token_spans"]) if any(start < e and s < end for s, e in spans)]
            for spans in explanation["spans"]]


def faithfulness(model, tokenizer, method, explanations, k):
    """Confidence Drop@k = p(y^|x) - p(y^|x without the top k), y^ the class predicted for x (A14), and Flip Rate@k.

    A sentence with at most k wordpieces is left empty; how many are says n_emptied.
    """
    full = [token_ids(tokenizer, e["text"]) for e in explanations]
    units = [ranked_units(method, e, ids)[:k] for e, ids in zip(explanations, full)]
    cut = [remove(ids, [p for unit in chosen for p in unit]) for ids, chosen in zip(full, units)]
    before, after = predict_proba(model, tokenizer, full), predict_proba(model, tokenizer, cut)
    predicted, rows = before.argmax(1), np.arange(len(full))
    return {"confidence_drop": summary(before[rows, predicted] - after[rows, predicted]),
            "flip_rate": summary(after.argmax(1) != predicted), "n_emptied": sum(not ids for ids in cut)}


def short_token_ratio(explanations, characters=3):
    """Share of LIME's words that have at most 3 characters (A15), and the same share of all words of the sentence."""
    def share(words):
        return np.mean([len(w) <= characters for w in words]) if words else np.nan
    return {"short_token_ratio": summary([share(e["words"]) for e in explanations]),
            "short_share_of_all_words": summary([share(set(re.findall(r"\w+", e["text"]))) for e in explanations])}


# ---------------------------------------------------------------------------------------------------------------------
# 4.3 Agreement (3.7 (2))

def jaccard(a, b):
    """|A n B| / |A u B|; undefined for two empty sets."""
    return len(a & b) / len(a | b) if a | b else np.nan


def overlap(a, b, k):
    """|A n B| / k (3.7 (2)), also where a sentence has fewer than k tokens (A16)."""
    return len(a & b) / k


def chance_agreement(n, k):
    """Expected (Jaccard, Overlap) of two random k-sets out of n tokens: their intersection is hypergeometric."""
    k_n = min(n, k)
    p = [comb(k_n, m) * comb(n - k_n, k_n - m) / comb(n, k_n) for m in range(k_n + 1)]
    return (sum(q * m / (2 * k_n - m) for m, q in enumerate(p)) if n else np.nan, sum(q * m / k for m, q in enumerate(p)))


def agreement(first, second, sizes, k):
    """Means over sentences of both measures of top-k sets, with what chance gives at each sentence's size. Lists of sets."""
    chance = np.array([chance_agreement(n, k) for n in sizes])
    return {"jaccard": summary([jaccard(a, b) for a, b in zip(first, second)]),
            "overlap": summary([overlap(a, b, k) for a, b in zip(first, second)]),
            "jaccard_by_chance": summary(chance[:, 0]), "overlap_by_chance": summary(chance[:, 1]),
            "n_not_longer_than_k": int(np.sum(np.array(sizes) <= k))}


def word_attributions(shap_row):
    """SHAP in LIME's unit: {word: phi summed over the wordpieces of all its occurrences}; punctuation has no word."""
    sums, phi = {}, own_class(shap_row)
    for match in re.finditer(r"\w+", shap_row["text"]):
        pieces = [p for p, (start, end) in enumerate(shap_row["spans"]) if start < match.end() and match.start() < end]
        sums[match.group()] = sums.get(match.group(), 0.0) + phi[pieces].sum()
    return sums


# ---------------------------------------------------------------------------------------------------------------------
# 4.4 Direction (3.7 (3))

def cosines(first, second):
    """Each model's own predicted class, which is the paper's; the first model's class for both; and the paper's again
    over the sentences where the two predict the same class."""
    own = np.array([cosine(own_class(a), own_class(b)) for a, b in zip(first, second)])
    common = [cosine(own_class(a), own_class(b | {"predicted": a["predicted"]})) for a, b in zip(first, second)]
    same = np.array([a["predicted"] == b["predicted"] for a, b in zip(first, second)])
    return {"cosine": summary(own), "cosine_common_class": summary(common), "cosine_same_prediction": summary(own[same]),
            "same_prediction": summary(same)}


def projection(vectors):
    """Figure 8: the first two principal components of the unit vectors of all models (A18). vectors: name -> list of (n_i,).

    Vectors are padded with zeros to the longest sentence, so a coordinate is a position in the sentence; the picture is
    an illustration, and the angle to the first model beside it is the measurement.
    """
    longest = max(len(v) for rows in vectors.values() for v in rows)
    padded = {name: np.array([np.pad(v, (0, longest - len(v))) / (np.linalg.norm(v) or 1) for v in rows])
              for name, rows in vectors.items()}
    stacked = np.concatenate(list(padded.values()))
    centre = stacked.mean(0)
    _, singular, axes = np.linalg.svd(stacked - centre, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2, np.abs(axes[:2]).argmax(1)].diagonal())[:, None]  # a sign that does not depend on LAPACK
    reference = next(iter(vectors))
    return {"explained_variance": (singular**2 / (singular**2).sum())[:2],
            "points": {name: (rows - centre) @ axes.T for name, rows in padded.items()},
            "angle_to_first": {name: [np.degrees(np.arccos(np.clip(cosine(a, b), -1, 1)))
                                      for a, b in zip(vectors[reference], rows)] for name, rows in vectors.items()}}


# ---------------------------------------------------------------------------------------------------------------------
# 3.7 (5) Buckets, and what a model costs (RQ5)

def bucket_of(right):
    """The bucket's name. right: for each of the three models, whether its prediction is the gold label."""
    right = tuple(int(r) for r in right)
    return next(name for name, pattern in BUCKETS.items() if pattern == right)


def cost(model, tokenizer, texts):
    """Parameters; median milliseconds for one sentence alone; sentences a second for all of them together."""
    predict_proba(model, tokenizer, texts[:8])  # warm up
    alone = []
    for text in texts[:30]:
        started = time.perf_counter()
        predict_proba(model, tokenizer, [text])
        alone.append(time.perf_counter() - started)
    started = time.perf_counter()
    predict_proba(model, tokenizer, texts)
    return {"parameters": sum(p.numel() for p in model.parameters()), "layers": model.config.num_hidden_layers,
            "milliseconds_alone": 1000 * float(np.median(alone)),
            "sentences_per_second": len(set(texts)) / (time.perf_counter() - started)}


def parse_args(argv=None):
    parser = cli(__doc__, data=True, device=True)
    parser.add_argument("--k", type=positive, nargs="+", default=list(KS), help="sizes of the top-k sets")
    parser.add_argument("--controls", type=model_name, nargs="*", default=[], metavar="NAME",
                        help="further models to set beside the three, such as bert_seed43: BERT against itself retrained")
    return parser.parse_args(argv)


def main():
    args = parse_args()
    device = pick_device(args.device)
    splits = load_splits(args.data)
    subset = load_subset(args.artifacts)
    names = [*MODELS, *args.controls]
    pairs = [*PAIRS, *(("bert", control) for control in args.controls)]
    shap, lime, stamps = {}, {}, {}
    for name in names:
        shap[name], stamps[name] = load_explanations(args.artifacts, name, "shap", subset)
        lime[name], _ = load_explanations(args.artifacts, name, "lime", subset)
        if stamps[name]["arguments"] != stamps["bert"]["arguments"] | {"name": name}:
            stop(f"SHAP was run otherwise for bert ({stamps['bert']['arguments']}) than for {name} "
                 f"({stamps[name]['arguments']}); 03_explain.py --overwrite makes them alike")
        if any(a["spans"] != b["spans"] for a, b in zip(shap["bert"], shap[name])):
            stop(f"{name} cuts the sentences into other tokens than bert; agreement by token is not defined between them")
        for a, b in zip(lime[name], shap[name]):
            a["token_spans"] = b["spans"]
    stamp = make_stamp(args, device, text=digest(splits), subset=digest([row["text"] for row in subset]),
                       **{name: stamps[name]["inputs"]["weights"] for name in names}, shap=stamps["bert"]["arguments"])

    def write(table, rows):
        write_json(Path(args.artifacts) / "tables" / f"{table}.json", {"stamp": stamp, "rows": rows})
        print(f"wrote tables/{table}.json", flush=True)

    # Figure 1: the label distribution (3.1)
    write("figure1", [{"split": split, "counts": np.bincount([r["label"] for r in rows], minlength=len(LABELS))}
                      for split, rows in [*splits.items(), ("subset", subset)]])

    # Figure 4 and Table 1: the only part that asks a model
    gold = [row["label"] for row in splits["test"]]
    figure4, table1, timing, right = [], [], {}, {}
    for name in names:
        model, tokenizer = load_classifier(args.artifacts, name, device)
        predicted = predict_proba(model, tokenizer, [row["text"] for row in splits["test"]]).argmax(1)
        right[name] = predicted == gold
        figure4.append({"model": name, **scores(gold, predicted)})
        for method, explanations in (("shap", shap[name]), ("lime", lime[name]), ("random", shap[name])):
            for k in args.k:
                table1.append({"model": name, "explainer": method, "k": k,
                               **faithfulness(model, tokenizer, method, explanations, k)})
        table1[-2 * len(args.k)] |= short_token_ratio(lime[name])  # beside LIME's first k
        timing[name] = cost(model, tokenizer, [row["text"] for row in subset])
    write("figure4", figure4)
    write("table1", table1)
    write_json(Path(args.artifacts) / "timing.json", timing)

    # Table 2: top-k wordpieces of two models; SHAP and LIME of one model, on words
    table2, sizes = [], [len(e["tokens"]) for e in shap["bert"]]
    for k in args.k:
        top = {name: [set(top_k(own_class(e), k)) for e in shap[name]] for name in names}
        table2 += [{"pair": [a, b], "explainers": ["shap", "shap"], "k": k, **agreement(top[a], top[b], sizes, k)}
                   for a, b in pairs]
        for name in names:
            words = [word_attributions(e) for e in shap[name]]
            from_shap = [{list(w)[i] for i in top_k(list(w.values()), k)} for w in words]
            from_lime = [set(e["words"][:k]) for e in lime[name]]
            table2.append({"pair": [name, name], "explainers": ["shap", "lime"], "k": k,
                           **agreement(from_shap, from_lime, [len(w) for w in words], k)})
    write("table2", table2)

    # Table 3, Figure 8
    write("table3", [{"pair": [a, b], **cosines(shap[a], shap[b])} for a, b in pairs])
    write("figure8", projection({name: [own_class(e) for e in shap[name]] for name in MODELS}))

    # Buckets (3.7 (5)): on the subset, where there are explanations; how many of the whole test split beside it
    of_test = [bucket_of(r) for r in zip(*(right[name] for name in MODELS))]
    of_subset = [bucket_of(e["predicted"] == e["label"] for e in es) for es in zip(*(shap[name] for name in MODELS))]
    buckets = []
    for bucket in BUCKETS:
        at = [i for i, b in enumerate(of_subset) if b == bucket]
        row = {"bucket": bucket, "n": len(at), "n_test": of_test.count(bucket), "pairs": []}
        for a, b in PAIRS:
            first, second = [shap[a][i] for i in at], [shap[b][i] for i in at]
            row["pairs"].append({"pair": [a, b], "cosine": summary([cosine(own_class(x), own_class(y))
                                                                    for x, y in zip(first, second)]),
                                 **{f"jaccard@{k}": summary([jaccard(set(top_k(own_class(x), k)), set(top_k(own_class(y), k)))
                                                            for x, y in zip(first, second)]) for k in args.k}})
        buckets.append(row)
    write("buckets", buckets)
    return args


if __name__ == "__main__":
    run(main)
