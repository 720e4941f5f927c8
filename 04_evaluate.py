"""Sections 3.7 (1, 2, 3, 5) and 4.1-4.4: accuracy, faithfulness, agreement, direction, buckets, cost; then the controls.

Reads   models/<name>/ and the text (--data) to score the test split and what is left after a removal;
        subset.jsonl, explanations/<name>.shap.jsonl, explanations/<name>.lime.jsonl;
        for the controls explanations/<name>.shap_mask.jsonl, .shap_full.jsonl, .lime_seeds.jsonl, where 03 made them
Writes  tables/figure1.json (label counts), figure4.json (accuracy, F1), table1.json (faithfulness, Figure 5),
        table2.json (agreement, Figure 6), table3.json (cosine, Figure 7), figure8.json (projection), buckets.json;
        controls: removal.json, sensitivity.json, lime_noise.json, fidelity.json, design.json, comparisons.json;
        timing.json (parameters, latency)

    python 04_evaluate.py
    python 04_evaluate.py --k 3 5 10 --controls bert_seed43 distilbert_kd tinybert_ce kd_soft

A minute a model on a T4 (an estimate, not measured). A mean stands with its SD, n and 95% interval (common.summary); a
difference with a paired test over sentences (common.paired).
"""
import argparse
import re
import time
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score

from common import (KS, LABELS, MAKES_MODEL, MODELS, PAIRS, SEED, claim, cli, compare, cosine, differences, digest, load_classifier,
                    load_explanations, load_splits, load_subset, make_stamp, model_folder, model_name, own_class, paired,
                    paired_rates, pick_device, positive, predict_proba, read_json, remove, run, sd_ratio, sentence_seed,
                    shap_reference, stop, summary, token_ids, top_k, weights_of, write_json)

BUCKETS = {  # 3.7 (5): (BERT, DistilBERT, KD-TinyBERT) right or wrong
    "all_correct": (1, 1, 1), "all_wrong": (0, 0, 0), "bert_only": (1, 0, 0), "dbert_only": (0, 1, 0), "kd_only": (0, 0, 1),
    "bert_kd_pair": (1, 0, 1), "dbert_kd_pair": (0, 1, 1), "bert_dbert": (1, 1, 0)}


# ---------------------------------------------------------------------------------------------------------------------
# 4.1 Accuracy and F1

def scores(gold, predicted, bert):
    """Figure 4: accuracy and weighted F1 (4.1), with macro F1, F1 of each class and the confusion matrix beside them, and
    weighted F1 less BERT's. F1 is no mean over sentences: its intervals are computed anew for 200 bootstrap samples, the
    same ones for every model. gold, predicted, bert (n,): labels, the model's predictions, BERT's."""
    classes, n = range(len(LABELS)), len(gold)
    samples = [np.arange(n), *(np.random.default_rng([SEED, i]).integers(n, size=n) for i in range(200))]  # all, then draws
    share = np.array([np.bincount(gold[at], minlength=len(LABELS)) / n for at in samples])

    def class_f1(predicted):  # (201, 5)
        return np.array([f1_score(gold[at], predicted[at], labels=classes, average=None, zero_division=0) for at in samples])

    def with_interval(values):
        low, high = np.percentile(values[1:], [2.5, 97.5])
        return {"mean": values[0], "sd": None, "low": low, "high": high, "n": n}

    f1, of_bert = class_f1(predicted), class_f1(bert)
    weighted = (share * f1).sum(1)
    return {"accuracy": summary(gold == predicted), "weighted_f1": with_interval(weighted), "macro_f1": with_interval(f1.mean(1)),
            "weighted_f1_minus_bert": with_interval(weighted - (share * of_bert).sum(1)), "class_f1": f1[0],
            "confusion": confusion_matrix(gold, predicted, labels=classes)}


# ---------------------------------------------------------------------------------------------------------------------
# 4.2 Faithfulness (3.7 (1))

def pieces(spans, token_spans):
    """Positions of the wordpieces that share a character with any of the spans."""
    return [p for p, (start, end) in enumerate(token_spans) if any(start < e and s < end for s, e in spans)]


def ranked_units(method, row):
    """What the explainer ranks, most important first, each unit a list of wordpiece positions.

    SHAP: wordpieces by |phi| for the predicted class. LIME: words, each with the wordpieces of all its occurrences.
    """
    if method == "lime":
        return [pieces(spans, row["token_spans"]) for spans in row["spans"]]
    return [[p] for p in top_k(own_class(row), len(row["tokens"]))]


def removal(model, tokenizer, rows, units, k, cut=remove):
    """Confidence Drop@k = p(y^|x) - p(y^|x without the first k units), y^ the class predicted for x (A14), and Flip@k.

    units: for each row its ranked units. Returns drop (n,), flip (n,) and how many sentences were left empty.
    """
    left = [cut(token_ids(tokenizer, row["text"]), [p for unit in ranked[:k] for p in unit]) for row, ranked in zip(rows, units)]
    before, predicted, at = np.array([row["probabilities"] for row in rows]), [row["predicted"] for row in rows], np.arange(len(rows))
    after = predict_proba(model, tokenizer, left)
    return before[at, predicted] - after[at, predicted], after.argmax(1) != predicted, sum(not ids for ids in left)


def short_token_ratio(words, characters=3):
    """Share of the words that have at most 3 characters (A15); NaN without a word."""
    return np.mean([len(w) <= characters for w in words]) if words else np.nan


# ---------------------------------------------------------------------------------------------------------------------
# 4.3 Agreement (3.7 (2))

def jaccard(a, b):
    """|A n B| / |A u B|; undefined for two empty sets."""
    return len(a & b) / len(a | b) if a | b else np.nan


def overlap(a, b, k):
    """|A n B| / k (3.7 (2)), also where a sentence has fewer than k tokens (A16)."""
    return len(a & b) / k


def agreement(first, second, sizes, k):
    """Means over sentences of both measures of top-k sets (lists of sets), and beside each what chance gives: at each
    sentence's length, exactly; (x - chance) / (1 - chance), 0 for random sets and 1 for equal ones; and apart from the
    sentences of at most k tokens, whose sets are equal whatever the models do."""
    j = np.array([jaccard(a, b) for a, b in zip(first, second)])
    o = np.array([overlap(a, b, k) for a, b in zip(first, second)])
    (j_chance, o_chance), longer = np.transpose([chance_agreement(n, k) for n in sizes]), np.array(sizes) > k
    return {"jaccard": summary(j), "overlap": summary(o),
            "jaccard_by_chance": summary(j_chance), "overlap_by_chance": summary(o_chance),
            "jaccard_corrected": summary((j - j_chance)[longer] / (1 - j_chance)[longer]),
            "overlap_corrected": summary((o - o_chance)[longer] / (1 - o_chance)[longer]),
            "n_not_longer_than_k": int((~longer).sum())}


def word_attributions(shap_row):
    """SHAP in LIME's unit: {word: phi summed over the wordpieces of all its occurrences}; punctuation has no word."""
    sums, phi = {}, own_class(shap_row)
    for match in re.finditer(r"\w+", shap_row["text"]):
        pieces = [p for p, (start, end) in enumerate(shap_row["spans"]) if start < match.end() and match.start() < end]
        sums[match.group()] = sums.get(match.group(), 0.0) + phi[pieces].sum()
    return sums


# ---------------------------------------------------------------------------------------------------------------------
# 4.4 Direction (3.7 (3))

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


def bucket_rows(right_test, explained, cosines, ks):
    """The eight buckets: n, each pair's direction and agreement within them, and n_test, how many of the whole test split.
    right_test: for each model (n_test,); explained: name -> rows of the subset; cosines: pair -> (n,)."""
    of_test = [bucket_of(right) for right in zip(*right_test)]
    of_subset = [bucket_of(row["predicted"] == row["label"] for row in rows) for rows in zip(*explained.values())]
    buckets = []
    for bucket in BUCKETS:
        at = [i for i, b in enumerate(of_subset) if b == bucket]
        row = {"bucket": bucket, "n": len(at), "n_test": of_test.count(bucket), "pairs": []}
        for first, second in PAIRS:
            phis = [(own_class(explained[first][i]), own_class(explained[second][i])) for i in at]
            row["pairs"].append({"pair": [first, second], "cosine": summary(cosines[first, second][at]), **{
                f"jaccard@{k}": summary([jaccard(set(top_k(x, k)), set(top_k(y, k))) for x, y in phis]) for k in ks}})
        buckets.append(row)
    return buckets


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


# ---------------------------------------------------------------------------------------------------------------------
# Controls: what each number would be if it meant nothing, or as much as it can

def chance_agreement(n, k):
    """Expected (Jaccard, Overlap) of two random k-sets out of n tokens: their intersection is hypergeometric. It rises as
    sentences get shorter (Kamp et al. 2023, arXiv 2310.05619)."""
    k_n = min(n, k)
    p = [comb(k_n, m) * comb(n - k_n, k_n - m) / comb(n, k_n) for m in range(k_n + 1)]
    return (sum(q * m / (2 * k_n - m) for m, q in enumerate(p)) if n else np.nan, sum(q * m / k for m, q in enumerate(p)))


def random_removal(model, tokenizer, method, rows, k, cut=remove, draws=5):
    """Mean drop (n,) and flips (n,) over random rankings of the same units: what removing any k does. How fragile a model is
    moves such numbers more than how good its explanation is (Edin et al. 2025)."""
    def units(row):
        if method != "lime":
            return [[p] for p in range(len(row["tokens"]))]
        words = {}
        for match in re.finditer(r"\w+", row["text"]):
            words.setdefault(match.group(), []).append(match.span())
        return [pieces(spans, row["token_spans"]) for spans in words.values()]

    shuffled = [[u[i] for i in rng.permutation(len(u))] for row in rows
                for u, rng in [(units(row), np.random.default_rng(sentence_seed(0, row["text"])))] for _ in range(draws)]
    drop, flip, _ = removal(model, tokenizer, [row for row in rows for _ in range(draws)], shuffled, k, cut)
    return drop.reshape(-1, draws).mean(1), flip.reshape(-1, draws).mean(1)


def against_random(drop, flip, random_drop, random_flip):
    """The columns of a faithfulness row: the paper's, the random ranking's, and the lift of the one over the other."""
    return {"confidence_drop": summary(drop), "flip_rate": summary(flip), "random_drop": summary(random_drop),
            "random_flips": summary(random_flip), "lift": paired(drop, random_drop), "flip_lift": paired(flip, random_flip)}


def removal_rows(model, tokenizer, rows, embedding_reference):
    """Table 1 at k = 3 under four meanings of "remove" (Hase et al. 2021, arXiv 2106.00786: each leaves the training text in a
    way of its own): deletion (the paper's), and replacement by [MASK], by [UNK], and by
    SHAP's mean embedding (in the [MASK] row while the context embedding_reference is open); beside the margin between the
    two likeliest classes, which says how little it takes to flip."""
    units = [ranked_units("shap", row) for row in rows]
    margin = summary([np.diff(np.sort(row["probabilities"])[-2:])[0] for row in rows])

    def row(operator, cut):
        drop, flip, _ = removal(model, tokenizer, rows, units, KS[0], cut)
        random = random_removal(model, tokenizer, "shap", rows, KS[0], cut)
        return {"operator": operator, **against_random(drop, flip, *random), "margin": margin}

    masked = replace_by(tokenizer.mask_token_id)
    result = [row("delete", remove), row("mask", masked), row("unk", replace_by(tokenizer.unk_token_id))]
    with embedding_reference:
        return [*result, row("embedding", masked)]


def replace_by(token_id):
    """Another meaning of "remove": every wordpiece replaced by one token, the length kept."""
    return lambda ids, positions: tuple(token_id if i in set(positions) else x for i, x in enumerate(ids))


def polarity_phi(row):
    """Class-free attributions (n,): of the polarity score s = sum_c (c - 2) p_c. SHAP is linear in the output, so exact."""
    return np.array(row["attributions"], dtype=float).reshape(-1, len(LABELS)) @ (np.arange(len(LABELS)) - 2)


def class_choices(first, second, bert):
    """{what is explained: (phi of one model, phi of the other), a list over sentences}: the paper's own class of each
    model; BERT's class for both; and the polarity score, which asks no class at all."""
    def of_bert(rows):
        return [own_class(row | {"predicted": b["predicted"]}) for row, b in zip(rows, bert)]

    return {"own": [(own_class(a), own_class(b)) for a, b in zip(first, second)],
            "common_class": list(zip(of_bert(first), of_bert(second))),
            "polarity": [(polarity_phi(a), polarity_phi(b)) for a, b in zip(first, second)]}


def of_choices(choices, k):
    """{what is explained: [(top-k set of one model, of the other), ...]}, from class_choices."""
    return {what: [(set(top_k(a, k)), set(top_k(b, k))) for a, b in phis] for what, phis in choices.items()}


def drift(ceilings, values):
    """Agreement of BERT with itself retrained (mean over the retrained ones) minus BERT's with a student, paired over
    sentences: a student has drifted only if the interval lies above 0 (seeds alone move explanations: Zafar et al. 2021,
    arXiv 2106.04631; Madhyastha and Jain 2019, arXiv 1909.10447). None without a retrained BERT."""
    return paired(np.mean(ceilings, 0), values) if ceilings else None


def ties(first, second, k, draws=20):
    """tied: whether either model's k-th and next |phi| are equal (shap's budget leaves credit spread evenly, so sets are
    decided by the order of words). jaccard: its mean over random orders of the equal ones. Both (n,); lists of phi."""
    def tied(phi):
        size = np.sort(np.round(np.abs(phi), 12))[::-1]
        return len(phi) > k and size[k - 1] == size[k]

    def any_order(phi, rng):
        order = rng.permutation(len(phi))
        return set(order[top_k(phi[order], k)])

    rng = np.random.default_rng(SEED)
    return (np.array([tied(a) or tied(b) for a, b in zip(first, second)]),
            np.array([np.mean([jaccard(any_order(a, rng), any_order(b, rng)) for _ in range(draws)])
                      for a, b in zip(first, second)]))


def expected_calibration_error(gold, probabilities, bins=10):
    """ECE = sum over bins of confidence of (n_b / n) |accuracy_b - confidence_b|, ten bins of equal width (Guo et al. 2017)."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == gold
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(bin_of, right - confidence, bins)  # n_b (accuracy_b - confidence_b)
    return float(np.abs(gap).sum() / len(gold))


def fidelity(teacher, student):
    """How much of the outputs a student keeps: same class, and KL(p_teacher || p_student) in nats (Stanton et al. 2021, arXiv
    2106.05945). Probabilities (n, 5)."""
    return {"same_class": summary(teacher.argmax(1) == student.argmax(1)),
            "kl": summary((teacher * np.log(teacher / np.maximum(student, 1e-300))).sum(1))}


def other_setting(model, tokenizer, rows, base):
    """One model's SHAP under another setting (rows) beside the paper's (base), of the same sentences: Table 1 at k = 3, what
    changes, and how much of the ten largest stays (Jaccard)."""
    (drop, flip, _), (base_drop, base_flip, _) = (
        removal(model, tokenizer, r, [ranked_units("shap", row) for row in r], KS[0]) for r in (rows, base))
    kept = [jaccard(set(top_k(own_class(a), KS[-1])), set(top_k(own_class(b), KS[-1]))) for a, b in zip(rows, base)]
    return {"confidence_drop": summary(drop), "flip_rate": summary(flip), "drop_change": paired(drop, base_drop),
            "flip_change": paired_rates(flip, base_flip), "top10_kept": summary(kept)}


def other_setting_pair(first, second, base_jaccard, base_cosine):
    """Tables 2 and 3 of a pair under another setting of SHAP, and what changes against the paper's (n,)."""
    phis = [(own_class(a), own_class(b)) for a, b in zip(first, second)]
    tops = [(set(top_k(x, KS[-1])), set(top_k(y, KS[-1]))) for x, y in phis]
    j, c = [jaccard(x, y) for x, y in tops], [cosine(x, y) for x, y in phis]
    return {"jaccard": summary(j), "overlap": summary([overlap(x, y, KS[-1]) for x, y in tops]), "cosine": summary(c),
            "jaccard_change": paired(j, base_jaccard), "cosine_change": paired(c, base_cosine)}


def lime_noise(first, others):
    """LIME against itself over seeds (its variance: Mardaoui and Garreau 2021, arXiv 2010.12487): mean Jaccard of the top k
    words over all pairs of runs, and the surrogate's R^2.
    first: rows of the paper's seed; others: rows whose "runs" are the further seeds', of some of the same sentences."""
    runs = [[next(r for r in first if r["id"] == row["id"]), *row["runs"]] for row in others]
    return {**{f"jaccard@{k}": summary([np.mean([jaccard(set(a["words"][:k]), set(b["words"][:k]))
                                                 for a, b in combinations(of_row, 2)]) for of_row in runs]) for k in (KS[0], KS[-1])},
            "r2": summary([np.nanmean([np.nan if run["r2"] is None else run["r2"] for run in of_row]) for of_row in runs])}


def made_how(artifacts, name):
    """(initialisation, objective, seed) of a model, from its stamp: what may differ between two students."""
    made = read_json(model_folder(artifacts, name) / "stamp.json", MAKES_MODEL)["arguments"]
    start = " ".join([Path(made["checkpoint"]).name, *(f"layer {i}" for i in made["keep_layers"])])
    return start, f"{made['alpha']} CE + {made['beta']} KD" if "teacher" in made else "CE", made["seed"]


def one_thing_changed(made, students, measures):
    """The two by two: every two students that differ in initialisation, objective or seed alone, as paired differences of
    accuracy, faithfulness, and closeness to BERT. made: name -> (initialisation, objective, seed)."""
    rows = []
    for first, second in combinations(students, 2):
        differ = [what for what, x, y in zip(("initialisation", "objective", "seed"), made[first], made[second]) if x != y]
        if len(differ) == 1:
            rows.append({"first": first, "second": second, "differ_in": differ[0], "made": [made[first], made[second]],
                         "accuracy": paired_rates(measures["accuracy"][first], measures["accuracy"][second]),
                         "confidence_drop": paired(measures["confidence_drop"][first], measures["confidence_drop"][second]),
                         **{f"{m}_with_bert": paired(measures[m]["bert", first], measures[m]["bert", second])
                            for m in ("jaccard", "cosine", "cosine_polarity")}})
    return rows


COMPARISONS = (  # what the paper compares in words: section, measure, the one, the other
    *(("4.1", "accuracy", a, b) for a, b in (("kd_tinybert", "bert"), ("bert", "distilbert"), ("kd_tinybert", "distilbert"))),
    *(("4.2", m, a, b) for m in ("confidence_drop", "flip_rate", "short_token_ratio")
      for a, b in (("distilbert", "bert"), ("bert", "kd_tinybert"), ("distilbert", "kd_tinybert"))),
    *((s, m, a, b) for s, m in (("4.3", "jaccard"), ("4.3", "overlap"), ("4.4", "cosine")) for a, b in combinations(PAIRS, 2)))


CONTROLS = (  # the same questions put so that class, mask and chance do not answer them; a family of its own
    *(("control", "same_class", a, b) for a, b in (("distilbert", "kd_tinybert"),)),
    *(("control", "lift", a, b) for a, b in (("distilbert", "bert"), ("bert", "kd_tinybert"), ("distilbert", "kd_tinybert"))),
    *(("control", "cosine_polarity", a, b) for a, b in combinations(PAIRS, 2)))


def parse_args(argv=None):
    parser = cli(__doc__, data=True, device=True)
    parser.add_argument("--k", type=positive, nargs="+", default=list(KS), help="sizes of the top-k sets")
    parser.add_argument("--controls", type=model_name, nargs="*", default=[], metavar="NAME",
                        help="further models to set beside the three, such as bert_seed43: BERT against itself retrained")
    return parser.parse_args(argv)


def main():
    args = parse_args()
    device = pick_device(args.device, args.deterministic)
    artifacts, ks = Path(args.artifacts), sorted({*args.k, *KS})
    splits = load_splits(args.data)
    subset = load_subset(artifacts)
    names = [*MODELS, *args.controls]
    pairs = [*PAIRS, *(("bert", control) for control in args.controls)]
    made = {name: made_how(artifacts, name) for name in names}
    weights = {name: weights_of(artifacts, name, splits) for name in names}  # all trained on this text
    claim(artifacts / "tables" / "04_evaluate")
    shap, lime, stamps = {}, {}, {}
    for method, explained in (("shap", shap), ("lime", lime)):
        for name in names if method == "shap" else MODELS:
            explained[name], stamps[method, name] = load_explanations(artifacts, name, method, subset)
            if differ := differences(stamps[method, name]["arguments"], stamps[method, "bert"]["arguments"] | {"name": name}):
                stop(f"{method.upper()} was run otherwise for {name} than for bert ({differ}); 03_explain.py --overwrite makes them alike")
    for name in names:
        if any(a["spans"] != b["spans"] for a, b in zip(shap["bert"], shap[name])):
            stop(f"{name} cuts the sentences into other tokens than bert; agreement by token is not defined between them")
    for name, rows in lime.items():
        lime[name] = [row | {"token_spans": other["spans"]} for row, other in zip(rows, shap[name])]
    changed, one_thing = {}, {"shap_mask": "reference", "shap_full": "max_evals", "lime_seeds": None}
    for method, key in one_thing.items():
        if all((artifacts / "explanations" / f"{name}.{method}.jsonl").is_file() for name in MODELS):
            for name in MODELS:
                changed[name, method], made_so = load_explanations(artifacts, name, method, subset, whole=False)
                base = stamps[method.split("_")[0], "bert"]["arguments"]
                if differ := differences(made_so["arguments"], base | {"name": name, **({key: made_so["arguments"][key]} if key else {})}):
                    stop(f"{method} of {name} differs in more than one thing from bert's ({differ}); 03_explain.py --overwrite mends it")
            in_all = set.intersection(*({row["id"] for row in changed[name, method]} for name in MODELS))
            for name in MODELS:
                changed[name, method] = [row for row in changed[name, method] if row["id"] in in_all]
    stamp = make_stamp(args, device, text=digest(splits), subset=digest([row["text"] for row in subset]),
                       **weights, shap=stamps["shap", "bert"]["arguments"])

    def at_changed(rows):  # where these sentences stand in the subset
        ids = {row["id"] for row in rows}
        return [i for i, row in enumerate(subset) if row["id"] in ids]

    def write(table, rows):
        write_json(artifacts / "tables" / f"{table}.json", {"stamp": stamp, "rows": rows})
        print(f"wrote tables/{table}.json", flush=True)

    # Figure 1: the label distribution (3.1), and the longest sentence in BERT's tokens, with [CLS] and [SEP] (3.3)
    _, tokenizer = load_classifier(artifacts, "bert", device)
    write("figure1", [{"split": split, "counts": np.bincount([r["label"] for r in rows], minlength=len(LABELS)),
                       "longest": max(len(token_ids(tokenizer, r["text"])) for r in rows) + 2}
                      for split, rows in [*splits.items(), ("subset", subset)]])

    # Figure 4 and Table 1, with the controls that ask a model
    gold = np.array([row["label"] for row in splits["test"]])
    figure4, table1, removals, sensitivity, timing = [], [], [], [], {}
    p_test, measures = {}, {m: {} for m in ("accuracy", "same_class", "confidence_drop", "flip_rate", "lift", "short_token_ratio")}
    for name in names:
        model, tokenizer = load_classifier(artifacts, name, device)
        p = p_test[name] = predict_proba(model, tokenizer, [row["text"] for row in splits["test"]])
        figure4.append({"model": name, **scores(gold, p.argmax(1), p_test["bert"].argmax(1)),
                        "ece": expected_calibration_error(gold, p)})
        measures["accuracy"][name], measures["same_class"][name] = p.argmax(1) == gold, p.argmax(1) == p_test["bert"].argmax(1)

        for method, rows in (("shap", shap[name]), ("lime", lime.get(name, []))):
            units = [ranked_units(method, row) for row in rows]
            for k in ks if rows else []:
                drop, flip, emptied = removal(model, tokenizer, rows, units, k)
                of_random = random_removal(model, tokenizer, method, rows, k)
                table1.append({"model": name, "explainer": method, "k": k, "n_emptied": emptied,
                               **against_random(drop, flip, *of_random)})
                if (method, k) == ("shap", KS[0]):
                    measures["confidence_drop"][name], measures["flip_rate"][name] = drop, flip
                    measures["lift"][name] = drop - of_random[0]
        if name in lime:
            ratios = measures["short_token_ratio"][name] = [short_token_ratio(row["words"]) for row in lime[name]]
            of_all = [short_token_ratio(list(set(re.findall(r"\w+", row["text"])))) for row in lime[name]]
            table1[-1] |= {"short_token_ratio": summary(ratios), "short_share_of_all_words": summary(of_all),
                           "short_lift": paired(ratios, of_all)}

        reference = shap_reference(model, tokenizer, splits["train"], argparse.Namespace(
            **stamps["shap", "bert"]["arguments"] | {"reference": "embedding"}))
        removals += [{"model": name, **row} for row in removal_rows(model, tokenizer, shap[name], reference)]
        for variant in ("shap_mask", "shap_full"):
            if rows := changed.get((name, variant)):
                sensitivity.append({"variant": variant, "model": name,
                                    **other_setting(model, tokenizer, rows, [shap[name][i] for i in at_changed(rows)])})
        timing[name] = cost(model, tokenizer, [row["text"] for row in subset])
        print(f"{name}: scored", flush=True)
    for row in removals:
        drops = sorted((r["confidence_drop"]["mean"] for r in removals
                        if r["operator"] == row["operator"] and r["model"] in MODELS), reverse=True)
        row["rank"] = drops.index(row["confidence_drop"]["mean"]) + 1 if row["model"] in MODELS else None
    write("figure4", figure4)
    write("table1", table1)
    write("removal", removals)
    write_json(artifacts / "timing.json", timing)

    # Tables 2 and 3: each model's own class, and the controls' choices of a class
    retrained = [c for c in args.controls if made[c][:2] == made["bert"][:2]]  # BERT but for its seed: what agreement can reach
    same = {(a, b): np.array([x["predicted"] == y["predicted"] for x, y in zip(shap[a], shap[b])]) for a, b in pairs}
    choices = {(a, b): class_choices(shap[a], shap[b], shap["bert"]) for a, b in pairs}

    def drift_of(measure, pair):
        student = pair[0] == "bert" and pair[1] not in retrained
        return drift([measures[measure]["bert", c] for c in retrained], measures[measure][pair]) if student else None

    table2, sizes = [], [len(e["tokens"]) for e in shap["bert"]]
    for k in sorted(ks, key=lambda k: k == KS[-1]):  # 10 last: what is compared below is Table 2's
        top = {pair: of_choices(choices[pair], k) for pair in pairs}
        measures["jaccard"] = {pair: np.array([jaccard(a, b) for a, b in top[pair]["own"]]) for pair in pairs}
        measures["overlap"] = {pair: np.array([overlap(a, b, k) for a, b in top[pair]["own"]]) for pair in pairs}
        for pair in pairs:
            tied, over_ties = ties(*zip(*choices[pair]["own"]), k)
            table2.append({"pair": list(pair), "explainers": ["shap", "shap"], "k": k,
                           **agreement(*zip(*top[pair]["own"]), sizes, k), "drift": drift_of("jaccard", pair),
                           **{f"jaccard_{what}": summary([jaccard(a, b) for a, b in top[pair][what]])
                              for what in ("common_class", "polarity")},
                           "jaccard_same_prediction": summary(measures["jaccard"][pair][same[pair]]),
                           "jaccard_other_prediction": summary(measures["jaccard"][pair][~same[pair]]),
                           "tied": summary(tied), "jaccard_over_ties": summary(over_ties)})
        for name in MODELS:  # SHAP and LIME of one model, on words
            words = [word_attributions(e) for e in shap[name]]
            from_shap = [{list(w)[i] for i in top_k(list(w.values()), k)} for w in words]
            from_lime = [set(e["words"][:k]) for e in lime[name]]
            table2.append({"pair": [name, name], "explainers": ["shap", "lime"], "k": k,
                           **agreement(from_shap, from_lime, [len(w) for w in words], k)})
    write("table2", table2)

    cosines = {pair: {what: np.array([cosine(x, y) for x, y in phis]) for what, phis in choices[pair].items()} for pair in pairs}
    measures["cosine"] = {pair: cosines[pair]["own"] for pair in pairs}
    measures["cosine_polarity"] = {pair: cosines[pair]["polarity"] for pair in pairs}
    write("table3", [{
        "pair": list(pair), "cosine": summary(c["own"]), "cosine_common_class": summary(c["common_class"]),
        "cosine_polarity": summary(c["polarity"]), "same_prediction": summary(same[pair]),
        "cosine_same_prediction": summary(c["own"][same[pair]]), "cosine_other_prediction": summary(c["own"][~same[pair]]),
        "drift": drift_of("cosine", pair), "drift_polarity": drift_of("cosine_polarity", pair),
        "sd_ratio": sd_ratio(c["own"], cosines[PAIRS[0]]["own"]),  # to BERT-DistilBERT's
        "sd_ratio_polarity": sd_ratio(c["polarity"], cosines[PAIRS[0]]["polarity"])} for pair, c in cosines.items()])
    write("figure8", projection({name: [own_class(e) for e in shap[name]] for name in MODELS}))

    write("buckets", bucket_rows([measures["accuracy"][name] for name in MODELS], {name: shap[name] for name in MODELS},
                                 measures["cosine"], ks))

    # Controls that are arithmetic on what is there
    for variant in ("shap_mask", "shap_full"):
        for a, b in PAIRS if ("bert", variant) in changed else ():
            at = at_changed(changed[a, variant])
            sensitivity.append({"variant": variant, "pair": [a, b], **other_setting_pair(
                changed[a, variant], changed[b, variant], measures["jaccard"][a, b][at], measures["cosine"][a, b][at])})
    write("sensitivity", sensitivity)
    write("lime_noise", [{"model": name, **lime_noise(lime[name], changed[name, "lime_seeds"])}
                         for name in MODELS if (name, "lime_seeds") in changed])
    write("fidelity", [{"model": name, **fidelity(p_test["bert"], p_test[name]),
                        "cosine_polarity": summary(measures["cosine_polarity"]["bert", name]),
                        "jaccard": summary(measures["jaccard"]["bert", name])} for name in names[1:]])

    write("design", one_thing_changed(made, [n for n in names if n != "bert" and n not in retrained], measures))
    write("comparisons", compare(COMPARISONS, measures) + compare(CONTROLS, measures))
    return args


if __name__ == "__main__":
    run(main)
