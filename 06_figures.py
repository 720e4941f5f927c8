"""Sections 4 and 5: the paper's tables and figures beside ours, its claims judged, cases shown.

Reads   measures/, subset.jsonl, explanations/, probes/, runs.jsonl; the stamps of models/
Writes  report.md (with Figure 2), explanations.html, figures/figure<i>.png (0 and 10 are ours),
        tables/estimates.jsonl, tables/claims.jsonl

    python 06_figures.py --artifacts artifacts

Files only, never a model: seconds, anywhere. METRICS says what each number is and what the paper
printed. Tables, claims and figures name a title of METRICS, and estimate() gives its mean and its
interval, or those of a difference. The case studies of 3.7 (6) are pick_cases() and page().
"""
import re
import textwrap
from collections.abc import Callable
from html import escape
from itertools import product, zip_longest
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.metrics import f1_score

from common import (LABELS, MODELS, PAIRS, PAPER_MODELS, SPLITS, cli, digest, explained_rows,
                    load_explanations, load_subset, model_stamp, predicted_attributions,
                    read_jsonl, read_stamp, run, stop, write_jsonl, write_text)

B, D, K = PAPER_MODELS  # BERT, DistilBERT, KD-TinyBERT
BD, BK, DK = PAIRS  # a pair is a string: "bert/distilbert"
NEXT = "bert/bert_next"  # BERT of the next seed: how much two BERTs agree
CONTROL = "bert/gold_control"  # stands for the pair that gold_control() finds
ALIGNED = "kd_aligned"  # distilled as Section 6 proposes, 02 with --perturbed --hidden (A32)
EXPLAINERS = {"shap": "SHAP", "lime": "LIME", "ig": "IG",
              "shap_mask": "SHAP with [MASK] as reference", "lime_seed": "LIME with another seed"}


# --- One statistic

def interval(values):
    """(mean, low, high): the mean of a series without missing values, and its 95% interval.

    Each level of its index is one thing that was drawn at random: seed and sentence (or adjective);
    seed alone; or seed, positive and negative adjective.

    The interval is mean +- t sqrt(v), with Satterthwaite's degrees of freedom. v, the variance of
    the mean, is a sum over the levels, v = sum of var(m) / len(m), where m are the means along a
    level: each seed's mean, then each sentence's mean. This is a crossed random-effects design; it
    is conservative, for each level counts the residual again. Where the values differ but the means
    along each level do not, the values are taken as one level.

    Where no level has two entries, nothing was drawn twice: low and high are NaN. Where all values
    are equal, low and high are mean +- 3 / the entries of the longest level, the rule of three.
    """
    terms, freedom, mean = [], [], values.mean()
    for level in range(values.index.nlevels):
        means = values.groupby(level=level).mean()  # one per seed, or per sentence
        if len(means) > 1:
            terms.append(means.var() / len(means))
            freedom.append(len(means) - 1)
    if not terms:
        half = np.nan
    elif np.ptp(values) < 1e-12:  # all values are equal, but for rounding
        half = 3 / (max(freedom) + 1)
    else:
        if sum(terms) < 1e-24:  # the values differ, their means do not
            terms, freedom = [values.var() / len(values)], [len(values) - 1]
        v = np.array(terms)
        half = stats.t.ppf(0.975, v.sum()**2 / (v**2 / freedom).sum()) * np.sqrt(v.sum())
    return mean, mean - half, mean + half


# --- What is averaged, and what the paper printed

def most_frequent(rows):
    """Accuracy, where every sentence gets the most frequent class."""
    return rows["label"].value_counts(normalize=True).max()


def chance_corrected(rows):
    """(J - chance) / (1 - chance) of the means: 0 for random sets, 1 for equal ones."""
    chance = rows["chance_jaccard"].mean()
    return (rows["jaccard"].mean() - chance) / (1 - chance) if chance < 1 else np.nan


SIGNED = (-1, 1)


class Metric(NamedTuple):
    file: str  # measures/<file>.jsonl, 05's one per model; of "agreement@10" the rows of k = 10
    value: str | Callable  # a column of the file; or a function of a seed's rows, such as F1
    paper: dict = {}  # {model or pair: the mean, or (mean, SD)}, as printed
    baseline: str | Callable = ""  # what chance gives: a column or a function, as for value
    limits: tuple = (0, 1)  # the least and the largest possible value; most are rates or shares


METRICS = {
    "accuracy": Metric("predictions", "right", {B: 0.538, D: 0.517, K: 0.541}, most_frequent),
    "weighted F1": Metric("predictions", lambda rows: f1_score(
        rows["label"], rows["predicted"], average="weighted"), {B: 0.532, D: 0.487, K: 0.530}),
    "same class as BERT": Metric("predictions", "as_bert"),
    "ConfDrop@3": Metric("faithfulness@3", "confidence_drop", {
        B: (0.096, 0.100), D: (0.149, 0.107), K: (0.042, 0.110)}, "random_drop", SIGNED),
    "ConfDrop@3 − random": Metric("faithfulness@3", "drop_over_random", limits=SIGNED),
    "ConfDrop@3, replaced by [MASK]": Metric("faithfulness@3", "masked_drop", limits=SIGNED),
    "FlipRate@3": Metric("faithfulness@3", "flip", {B: 0.447, D: 0.393, K: 0.000}, "random_flip"),
    "FlipRate@3 − random": Metric("faithfulness@3", "flip_over_random", limits=SIGNED),
    "FlipRate@3, replaced by [MASK]": Metric("faithfulness@3", "masked_flip"),
    "short-token ratio": Metric("short_tokens", "short_token_ratio", {
        B: 0.335, D: 0.352, K: 0.330}, "short_share_of_words"),
    "Jaccard@10": Metric("agreement@10", "jaccard", {BD: 0.468, BK: 0.453, DK: 0.449},
                         "chance_jaccard"),
    "Jaccard@10, chance-corrected": Metric("agreement@10", chance_corrected, limits=(-np.inf, 1)),
    "Overlap@10": Metric("agreement@10", "overlap", {BD: 0.625, BK: 0.608, DK: 0.602},
                         "chance_overlap"),
    "cosine": Metric("direction", "cosine", {
        BD: (0.720, 0.351), BK: (0.592, 0.430), DK: (0.566, 0.429)}, limits=SIGNED),
    "SD of the cosine": Metric("direction", lambda rows: rows["cosine"].std(), {
        BD: 0.351, BK: 0.430, DK: 0.429}, limits=(0, np.inf)),
    "polarity cosine": Metric("direction", "polarity_cosine", limits=SIGNED),
    "SD of the polarity cosine": Metric("direction", lambda rows: rows["polarity_cosine"].std(),
                                        limits=(0, np.inf)),
    "cosine, top 10": Metric("direction", "cosine_top10", limits=SIGNED),
    "same prediction": Metric("direction", "same_prediction"),
    "post-but ratio": Metric("contrast", "post_but_ratio", {
        B: (0.641, 0.090), D: (0.614, 0.066), K: (0.650, 0.112)}, "equal_credit_ratio"),
    "post-but ratio − equal credit": Metric("contrast", "over_equal_credit", limits=SIGNED),
    "ratio, “but” − “and”": Metric("contrast", "but_minus_and", limits=SIGNED),
    "follows second clause": Metric("contrast", "follows_second_clause"),
    "swaps with clauses": Metric("contrast", "swaps_with_clauses"),
    "less confident without “but”": Metric("contrast", "less_confident_without_but"),
    "confidence drop without “but”": Metric("contrast", "confidence_drop_without_but",
                                            limits=SIGNED),
    "if right, adjective not in top 3": Metric("contrast", "misses", baseline="chance_misses"),
    "if right, adjective not in top 3 − chance": Metric("contrast", "misses_over_chance",
                                                        limits=SIGNED),
    "function words": Metric("words", "function_share", baseline="function_token_share"),
    "sentiment words": Metric("words", "sentiment_share", baseline="sentiment_token_share"),
    "if right, no sentiment word in top 3": Metric("words", "misses", baseline="chance_misses"),
    "not": Metric("negation", "not"), "never": Metric("negation", "never"),
    "n't": Metric("negation", "n't"), "hardly": Metric("negation", "hardly"),
    "out of scope": Metric("negation", "out of scope"),
    "Jaccard@3": Metric("explainers@3", "jaccard", baseline="chance_jaccard")}
ORDER = "second_polarity"  # which of two adjectives stands second; estimate() averages both orders
AXES = {"contrast": ["seed", "positive", "negative", ORDER], "negation": ["seed", "adjective"]}


def frame_of(measures, title):
    """The rows of a metric's file, and of its k; an empty frame if there are none."""
    name, _, k = METRICS[title].file.partition("@")
    rows = measures.get(name, pd.DataFrame())
    return rows[rows["k"] == int(k)] if k and len(rows) else rows


def rows_of(measures, title, who, **where):
    """The rows of a metric for a model, such as "bert", or a pair, such as "bert/distilbert". The
    explainer is SHAP if `where` names no other."""
    rows = frame_of(measures, title)
    who = gold_control(measures) if who == CONTROL else who
    wanted = {"pair" if "/" in who else "model": who, "explainer": "shap"} | where
    for key, value in wanted.items():
        if key in rows.columns:
            rows = rows[rows[key] == value]
    return rows


def values_of(measures, title, who, value, **where):
    """The metric as a series: a value per row, indexed by seed and sentence (or adjectives, and
    their order); or where value is a function of a seed's rows, one value per seed."""
    rows = rows_of(measures, title, who, **where)
    if rows.empty:
        return pd.Series(dtype=float)
    if callable(value):
        return rows.groupby("seed").apply(value)
    return rows.set_index(AXES.get(METRICS[title].file, ["seed", "id"]))[value].astype(float)


def estimate(measures, title, who, minus=None, value=None, **where):
    """{"mean", "sd", "low", "high", "n", "seeds"} of a metric, for a model or a pair; with minus,
    of its difference from that of another, matched by seed and sentence.

    A null row is left out; in a difference it is one that is null for either model, so misses are
    compared on what both models get right. sd is the SD of a seed's rows, as the paper's ±, a mean
    over seeds. All else is of cells: a cell is a seed x a sentence, or a seed x a positive x a
    negative adjective, whose two orders are averaged into one. n counts the cells. seeds: {seed:
    its mean}. The interval of a mean is cut at the metric's limits, that of a difference is not.
    value: in place of the metric's own, for example its baseline.
    """
    value = value or METRICS[title].value
    values = values_of(measures, title, who, value, **where)
    if minus:  # pandas matches the rows by their index
        other = values_of(measures, title, minus, value, **where)
        values = values - other if len(values) and len(other) else other[:0]
    values = values.dropna()
    if values.empty:
        return {"mean": np.nan, "sd": np.nan, "low": np.nan, "high": np.nan, "n": 0, "seeds": {}}
    axes = [axis for axis in values.index.names if axis != ORDER]
    cells = values.groupby(axes).mean()
    mean, low, high = interval(cells)
    if not minus:
        least, largest = METRICS[title].limits
        low, high = np.maximum(low, least), np.minimum(high, largest)
    return {"mean": mean, "sd": values.groupby("seed").std().mean(), "low": low, "high": high,
            "n": len(cells), "seeds": cells.groupby("seed").mean().to_dict()}


def number(value):
    """Three digits without the zero before the point, as usual where 1 is the limit."""
    if value is None or np.isnan(value):
        return "–"
    return re.sub(r"^(-?)0", r"\1", f"{value:z.3f}")  # z: never -0.000


def text_of(e, sd=False):
    """ ".096 ± .100 [.080, .112]" of an estimate."""
    ends = f" [{number(e['low'])}, {number(e['high'])}]" if np.isfinite(e["low"]) else ""
    return number(e["mean"]) + (f" ± {number(e['sd'])}" if sd else "") + ends


# --- The measures, and what the models are called

def check_measures(artifacts):
    """(the stamp of 04; the models to show, a frame of model and seed). Stops unless 04 and 05
    measured the models and sentences that are there. A seed is shown if it has the paper's three
    models. With one seed, run_all.sh trains BERT of the next one too; that seed is not shown."""
    folder = artifacts / "measures"
    if not (folder / "04_evaluate.stamp.json").is_file():
        stop(f"{folder}/04_evaluate.stamp.json is missing; 04_evaluate.py writes it")
    stamp = read_stamp(folder / "04_evaluate.stamp.json")
    weights = stamp["inputs"]["weights"]  # {"bert_42": digest, ...}
    now = {name: model_stamp(artifacts, name)["weights"] for name in weights}
    if now != weights or stamp["inputs"]["subset"] != digest(load_subset(artifacts)):
        stop(f"04_evaluate.py measured other models or sentences than {artifacts} holds; run it")
    models = pd.DataFrame([name.rsplit("_", 1) for name in weights], columns=["model", "seed"])
    models = models.groupby("seed").filter(lambda rows: set(PAPER_MODELS) <= set(rows["model"]))
    if models.empty:
        stop(f"the report needs {', '.join(PAPER_MODELS)} of one seed; there are "
             f"{', '.join(weights)}")
    settings = None  # of 05, the same for all models
    for model, seed in models.itertuples(index=False):
        path = folder / f"05_probes.{model}_{seed}.stamp.json"
        expected = stamp["inputs"] | {"weights": weights[f"{model}_{seed}"]}
        probed = read_stamp(path) if path.is_file() else {"inputs": None, "arguments": None}
        settings = settings or probed["arguments"]
        if probed["inputs"] != expected or probed["arguments"] != settings:
            stop(f"{path} is missing, or of other settings, another model, text or sentences than "
                 f"the rest; 05_probes.py --model {model} --seed {seed} writes it")
    return stamp, models


def load_measures(artifacts):
    """({name of a measure: its rows, a frame} of the seeds to show, the stamp of 04). BERT of the
    next seed counts in the pair NEXT and in completeness even if its own seed is not shown."""
    stamp, models = check_measures(artifacts)
    folder, seeds, measures = artifacts / "measures", models["seed"].astype(int), {}
    for name in {path.name.partition(".")[0] for path in folder.glob("*.jsonl")}:
        paths = [folder / f"{name}.jsonl"]  # of 04; 05 writes a file per model
        paths += [folder / f"{name}.{model}_{seed}.jsonl" for model, seed in models.values]
        rows = pd.DataFrame([row for path in paths if path.is_file() for row in read_jsonl(path)])
        # A column of nulls alone would be of type object, which pandas does not average.
        rows = rows.astype({key: float for key in rows if rows[key].isna().all()})
        if "seed" in rows and name != "completeness":
            of_next = rows["pair"] == NEXT if "pair" in rows else False
            rows = rows[rows["seed"].isin(seeds) | of_next]
        measures[name] = rows
    return measures, stamp


def labels_of(models):
    """{model, explainer or pair: its label}. A model with an asterisk is a stand-in: not of the
    size that 3.2 gives."""
    names = EXPLAINERS | {NEXT: "BERT of the next seed", "gold_control": "gold-label control"}
    for row in models.drop_duplicates("model").itertuples():
        # Layers, whole millions of parameters: 3.2's 110 M of BERT-base are 109.5 M.
        size = (12, 109) if row.model == B else (6, 66)
        own = (row.layers, row.parameters // 10**6) == size
        names[row.model] = MODELS.get(row.model, row.model) + ("" if own else "*")
    return names


def gold_control(measures):
    """BERT's pair with the gold-label control, the model that differs from KD-TinyBERT in its
    objective alone (A34): TinyBERT-CE, else DistilBERT where both start from the same checkpoint;
    else CONTROL, of which there are no rows."""
    checkpoints = dict(zip(measures["models"]["model"], measures["models"]["checkpoint"]))
    if "tinybert_ce" in checkpoints:
        return f"{B}/tinybert_ce"
    return BD if checkpoints[D] == checkpoints[K] else CONTROL


# --- The claims, and where our number must lie for each to hold: written before the run

HOLDS, FAILS, OPEN, UNTESTED = "holds", "does not hold", "undecided", "not tested"
# (section, quote, comparisons, reason of the range). A comparison (metric, a, b, above, below): the
# metric's mean for a, minus that for b where b is not None, must lie above and below these bounds.
CLAIMS = (
    ("Abstract", "Based on the contrastive probe, TinyBERT frequently arrives at the correct label "
     "… for the wrong reasons", [("if right, adjective not in top 3", K, B, 0, None)],
     "more often than BERT does"),
    ("4.1", "broadly similar performance on the SST-5 test set",
     [("accuracy", D, B, -0.05, 0.05), ("accuracy", K, B, -0.05, 0.05)],
     "the paper’s largest difference, 0.024, and its sampling error at 2,210 sentences"),
    ("4.2", "DistilBERT shows the largest confidence drop, followed by BERT, while KD-TinyBERT "
     "exhibits the smallest",
     [("ConfDrop@3", D, B, 0, None), ("ConfDrop@3", B, K, 0, None)], ""),
    ("4.2", "BERT and DistilBERT both have substantial flip rates",
     [("FlipRate@3 − random", B, None, 0.1, None), ("FlipRate@3 − random", D, None, 0.1, None)],
     "one sentence in ten beyond what random tokens flip"),
    ("4.2", "KD-TinyBERT’s flip rate is effectively zero",
     [("FlipRate@3", K, None, None, 0.05)], "one sentence in twenty"),
    ("4.2", "The short-token ratios are very similar across all three models",
     [("short-token ratio", D, B, -0.05, 0.05), ("short-token ratio", K, B, -0.05, 0.05)],
     "half a word of ten"),
    ("4.3", "DistilBERT remains closer to its teacher (BERT) than KD-TinyBERT. KD-TinyBERT "
     "exhibits the lowest similarity",
     [("Jaccard@10", BD, BK, 0, None), ("Jaccard@10", BD, DK, 0, None)], ""),
    ("4.3", "indicating clear reasoning drift", [("Jaccard@10", NEXT, BK, 0, None)],
     "less agreement than between two BERTs"),
    ("4.4", "DistilBERT aligns more strongly with BERT in directional reasoning than KD-TinyBERT",
     [("cosine", BD, BK, 0, None)], ""),
    ("4.4", "The drop from 0.72 … to 0.59 … indicates a divergence in how compressed models weigh "
     "positive vs. negative cues", [("polarity cosine", BD, BK, 0, None)],
     "it quotes cosines of each model’s own class; judged by the polarity cosine, which asks both "
     "models one question"),
    ("4.4", "The large variance for KD-TinyBERT (std ~ 0.43) further reflects instability",
     [("SD of the cosine", BK, BD, 0, None), ("SD of the polarity cosine", BK, BD, 0, None)],
     "larger than DistilBERT’s, of both cosines"),
    ("4.5", "all three models exhibit post-but ratios well above chance level",
     [("post-but ratio − equal credit", who, None, 0.05, None) for who in (B, D, K)],
     "about half of the smallest excess of the paper, 0.614 − 0.5"),
    ("4.5", "they generally recognize the contrastive structure",
     [("ratio, “but” − “and”", who, None, 0, None) for who in (B, D, K)],
     "“but” moves more credit to the second clause than “and”"),
    ("4.5", "BERT demonstrates the strongest … preference for the post-but clause",
     [("post-but ratio", B, D, 0, None), ("post-but ratio", B, K, 0, None)],
     "in the paper’s own Table 4 KD-TinyBERT’s is higher, 0.650 against 0.641"),
    ("4.5", "greater reliance on token-level polarity in the distilled models",
     [("confidence drop without “but”", B, D, 0, None),
      ("confidence drop without “but”", B, K, 0, None)],
     "without “but” BERT’s confidence falls further than theirs"),
    ("5.2", "assigns high importance to neutral function words … while underweighting actual "
     "sentiment-bearing tokens",
     [("function words", K, B, 0, None), ("sentiment words", K, B, None, 0)], ""),
    ("5.2", "This behavioral pattern is a direct consequence of the distillation objective",
     [("polarity cosine", BK, CONTROL, None, 0)],
     "the control starts as KD-TinyBERT does and learns from gold labels"),
    ("5.3", "only BERT and DistilBERT used the correct sentiment-bearing tokens",
     [("if right, adjective not in top 3 − chance", B, None, None, 0),
      ("if right, adjective not in top 3 − chance", D, None, None, 0),
      ("if right, adjective not in top 3", K, B, 0, None),
      ("if right, adjective not in top 3", K, D, 0, None)],
     "both miss them less than random tokens do; “only”: KD-TinyBERT more than either"),
    ("5.4", "maintains predictive accuracy at the expense of reasoning fidelity",
     [("accuracy", K, B, -0.05, None), ("polarity cosine", BK, NEXT, None, 0)],
     "0.05 as in 4.1; fidelity: less than between two BERTs"),
    ("6", "may explore whether hybrid distillation strategies … can mitigate the spurious patterns",
     [("polarity cosine", f"{B}/{ALIGNED}", BK, 0, None),
      ("Jaccard@10", f"{B}/{ALIGNED}", BK, 0, None)],
     "a question for future work there; KD-aligned agrees more with BERT"))


def judge(e, above, below):
    """The verdict on an estimate that must lie above and below these; None is no bound. An interval
    that touches a bound, as where all differences are zero, leaves it undecided."""
    if not e["n"]:
        return UNTESTED
    above, below = -np.inf if above is None else above, np.inf if below is None else below
    if above < e["low"] and e["high"] < below:
        return HOLDS
    return FAILS if e["high"] < above or below < e["low"] else OPEN


def evaluate(measures, comparisons, **where):
    """(verdict of a claim, its comparisons with estimates and verdicts), by SHAP and of all seeds
    if `where` names no other explainer and no seed. The claim's verdict is the worst of its
    comparisons', in the order: does not hold, not tested, undecided, holds."""
    found = []
    for title, who, minus, above, below in comparisons:
        e = estimate(measures, title, who, minus, **where)
        found.append({"metric": title, "of": who, "minus": minus, "above": above, "below": below,
                      **e, "verdict": judge(e, above, below)})
    verdicts = {one["verdict"] for one in found}
    return next((v for v in (FAILS, UNTESTED, OPEN) if v in verdicts), HOLDS), found


def judge_claims(measures):
    """A record for each claim: its comparisons by SHAP; the verdict of each explainer, "" where the
    claim does not depend on one; and by_seed, SHAP's verdict of each seed alone, absent where a
    comparison has a single value per seed, such as an SD: one value has no interval."""
    records, seeds = [], sorted(measures["models"]["seed"].unique().tolist())
    for i, (section, quote, comparisons, reason) in enumerate(CLAIMS, 1):
        record = {"claim": i, "section": section, "quote": quote, "reason": reason}
        record["verdict"], record["comparisons"] = evaluate(measures, comparisons)
        explained = any("explainer" in frame_of(measures, title) for title, *_ in comparisons)
        for key in ("lime", "ig"):
            record[key] = evaluate(measures, comparisons, explainer=key)[0] if explained else ""
        judged = {seed: evaluate(measures, comparisons, seed=seed) for seed in seeds}
        record["by_seed"] = {seed: verdict for seed, (verdict, found) in judged.items()
                             if all(np.isfinite(one["low"]) for one in found)}
        records.append(record)
    return records


def comparison_text(one, label):
    """What a comparison compares, in words."""
    return f"{one['metric']}, {' − '.join(label(one[key]) for key in ('of', 'minus') if one[key])}"


# --- Tables

# heading: (keys, metrics, note). With one key a table has a row for each model, or pair, and a
# column for each metric. With two, such as model and explainer, the second makes the columns, and
# a cell has the means of all the metrics.
TABLES = {
    "Accuracy and F1": (("model",), ("accuracy", "weighted F1", "same class as BERT"),
        "Section 4.1, the test split. In brackets: the most frequent class."),
    "Table 1": (("model",), (
        "ConfDrop@3", "ConfDrop@3 − random", "ConfDrop@3, replaced by [MASK]", "FlipRate@3",
        "FlipRate@3 − random", "FlipRate@3, replaced by [MASK]", "short-token ratio"),
        "Section 4.2: SHAP’s top 3 tokens deleted, or replaced by [MASK]. In brackets: 3 random "
        "tokens; of the short-token ratio (LIME’s words), all words."),
    "Table 2": (("pair",), ("Jaccard@10", "Jaccard@10, chance-corrected", "Overlap@10"),
        "Section 4.3: SHAP’s top 10. In brackets: random sets. BERT of the next seed: its pairs "
        "share models, so their interval is too narrow."),
    "Table 3": (("pair",), ("cosine", "polarity cosine", "cosine, top 10", "same prediction"),
        "Section 4.4. The cosine is of each model’s own predicted class, so it is low where two "
        "predict differently; the polarity cosine explains Σ (c − 2) p_c in both."),
    "Table 4": (("model",), (
        "post-but ratio", "ratio, “but” − “and”", "follows second clause", "swaps with clauses",
        "confidence drop without “but”", "less confident without “but”",
        "if right, adjective not in top 3"),
        "Section 4.5. “but” − “and” is of the polarity score. In brackets: equal credit; of the "
        "last, which is of the right labels, three random tokens."),
    "Words": (("model",), (
        "function words", "sentiment words", "if right, no sentiment word in top 3"),
        "Section 5.2: shares of |φ| (A27, A28); the last, of the right labels (A29). In brackets: "
        "shares of the tokens; three random tokens."),
    "Negation": (("model",), ("not", "never", "n't", "hardly", "out of scope"),
        "RQ4 (A22): right predictions. The paper reports none."),
    "Faithfulness by explainer": (("model", "explainer"), ("ConfDrop@3", "FlipRate@3"),
        "ConfDrop@3; FlipRate@3 for the tokens (LIME: words) that each explainer ranks first. In "
        "brackets: random ones. The intervals stand in tables/estimates.jsonl."),
    "Agreement by explainer": (("pair", "explainer"), ("Jaccard@10", "polarity cosine"),
        "Jaccard@10; polarity cosine (LIME: of words). In brackets: random sets."),
    "Explainers": (("model", "explainer"), ("Jaccard@3",),
        "Section 3.7 (2): Jaccard@3 of two explainers, on words. In brackets: random sets."),
    "Buckets": (("bucket", "pair"), ("Jaccard@10", "polarity cosine"),
        "Section 3.7 (5), who is right: Jaccard@10; polarity cosine. n: explained sentences of all "
        "seeds; below 10 they say little.")}
WITH_SD = ("ConfDrop@3", "cosine", "post-but ratio")  # as in the paper


def escaped(text):
    """A text as Markdown shows it unchanged: in one line, its marks behind a backslash."""
    return re.sub(r"([\\`*_~<>&|$#\[\]])", r"\\\1", " ".join(text.split()))


def markdown(lines):
    """A table of [{heading: cell}]; a line may lack some."""
    headings = list(dict.fromkeys(heading for line in lines for heading in line))
    rows = [headings, *([str(line.get(heading, "–")) for heading in headings] for line in lines)]
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(headings), *body]) if lines else "Not in this run."


def record_of(measures, heading, title, where):
    """The estimate of one cell, with the paper's number and the baseline's mean. where: the keys of
    its row and column, such as {"model": "bert", "explainer": "lime"}."""
    metric, who = METRICS[title], where.get("pair") or where["model"]
    record = {"table": heading, **where, "metric": title, **estimate(measures, title, who, **where)}
    record |= {"paper": metric.paper.get(who) if len(where) == 1 else None, "baseline": None}
    if metric.baseline and "bucket" not in where:
        of_chance = estimate(measures, title, who, value=metric.baseline, **where)
        record["baseline"] = of_chance["mean"]
    return record


def cell_text(record, n):
    """Our number with its interval, its baseline in brackets, n where it is not that of the row,
    and the paper's number."""
    parts = [text_of(record, sd=record["metric"] in WITH_SD) + bracketed(record["baseline"])]
    if record["n"] != n:
        parts.append(f"n = {record['n']:,}")
    if record["paper"] is not None:
        parts.append("paper " + " ± ".join(f"{x:.3f}" for x in np.ravel(record["paper"])))
    return "<br>".join(parts)


def bracketed(baseline):
    return "" if baseline is None else f" ({number(baseline)})"


def table(measures, label, heading):
    """(records, Markdown) of a table. If it has two keys, a cell has the means of all metrics, each
    with its baseline: ".62 (.25); .91"."""
    keys, titles, note = TABLES[heading]
    records, lines, rows = [], {}, frame_of(measures, titles[0])
    combinations = rows[list(keys)].dropna().drop_duplicates() if len(rows) else rows
    for where in combinations.to_dict("records"):
        cells = [record_of(measures, heading, title, where) for title in titles]
        records += cells
        # The headings of the row and, if the table has two keys, of the column.
        first, *second = (escaped(label(value)) for value in where.values())
        n = cells[0]["n"]
        line = lines.setdefault(first, {"": first, "n": f"{n:,}"})
        if second:
            means = "; ".join(number(cell["mean"]) + bracketed(cell["baseline"]) for cell in cells)
            line[second[0]] = means if f"{n:,}" == line["n"] else f"n = {n:,}; {means}"
        else:
            line |= {cell["metric"]: cell_text(cell, n) for cell in cells}
    return records, f"## {heading}\n{note}\n\n{markdown(list(lines.values()))}"


def table5(measures, label):
    """Table 5 as Markdown: how many of our seeds predict which polarity (A23), with its mean
    confidence, and the paper's."""
    paper = {"Original": ("Pos (0.696)", "Pos (0.630)", "Pos (0.678)"),
             "Without “but”": ("Neutral (0.452)", "Pos (0.471)", "Pos (0.503)"),
             "Flipped clauses": ("Neg (0.540)", "Neg (0.519)", "Neg (0.455)")}
    lines, example = {condition: {"": condition} for condition in paper}, measures["example"]
    for (condition, model), rows in example.groupby(["condition", "model"], sort=False):
        ours = rows.groupby("polarity")["confidence"].agg(["size", "mean"])
        cell = ", ".join(f"{n} {polarity} ({number(mean)})" for polarity, n, mean in
                         ours.itertuples())
        if model in PAPER_MODELS:
            cell += f"<br>paper {paper[condition][PAPER_MODELS.index(model)]}"
        lines[condition][escaped(label(model))] = cell
    return ("## Table 5\nSection 4.5: in how many seeds which polarity (A23), its mean confidence."
            f"\n\n{markdown(list(lines.values()))}")


# --- Figures: (measures, artifacts, label) -> (figure, caption). label(who), made in main(), is the
# name to print of a model, a pair or an explainer.

COLOURS = {B: "#0072B2", D: "#E69F00", K: "#009E73", ALIGNED: "#D55E00",
           "tinybert_ce": "#CC79A7"}  # Okabe and Ito: for colour-blind eyes too
MARKS = {HOLDS: ("ko", "#0072B2"), FAILS: ("ks", "#D55E00"), OPEN: ("ko", "white"),
         UNTESTED: ("k", "white")}
LAYOUT = {"font.size": 8, "savefig.dpi": 200, "text.parse_math": False, "legend.frameon": False,
          "axes.spines.top": False, "axes.spines.right": False,
          "figure.constrained_layout.use": True}


def first_seed(measures):
    return int(measures["models"]["seed"].min())


def shown_models(measures):
    """The paper's models, and KD-aligned if it is there."""
    return [*PAPER_MODELS, *{ALIGNED}.intersection(measures["models"]["model"])]


def printed(title, who):
    """The paper's mean; NaN where it prints none."""
    return np.ravel(METRICS[title].paper.get(who, np.nan))[0]


def figure0(measures, artifacts, label, claims):
    """The claims, each by the first comparison that has the claim's verdict. Every row has a scale
    of its own: its numbers are divided so that they fit between -1 and 1. The text is outside."""
    fig, ax = plt.subplots(figsize=(8.2, 0.46 * len(claims) + 0.3))
    for y, claim in enumerate(claims):
        one = next(one for one in claim["comparisons"] if one["verdict"] == claim["verdict"])
        title, of, minus = one["metric"], one["of"], one["minus"]
        paper, baseline = printed(title, of), np.nan
        if minus:
            paper -= printed(title, minus)
        elif METRICS[title].baseline:
            baseline = estimate(measures, title, of, value=METRICS[title].baseline)["mean"]
        values = [one["mean"], one["low"], one["high"], one["above"], one["below"], paper, baseline,
                  *one["seeds"].values()]
        values = np.array(values, dtype=float)  # None, no bound, becomes NaN
        scaled = values / (1.1 * np.nanmax([*abs(values), 1e-9]))
        mean, low, high, above, below, paper, baseline, *seeds = scaled
        left, right = np.nan_to_num(above, nan=-1), np.nan_to_num(below, nan=1)
        mark, colour = MARKS[claim["verdict"]]
        ax.barh(y, right - left, 0.78, left, color="#E3ECE3")  # where the claim holds
        ax.plot([low, high], [y, y], "k-")
        ax.plot(seeds, [y + 0.27] * len(seeds), "k.", markersize=3)
        ax.plot([baseline, baseline], [y - 0.39, y + 0.39], "k:")
        ax.plot(paper, y, "kD", markerfacecolor="white", markersize=5)
        ax.plot(mean, y, mark, markerfacecolor=colour)
        quote = textwrap.shorten(f"{claim['claim']}. {claim['quote']}", 66, placeholder=" …",
                                 break_on_hyphens=False)
        what = textwrap.fill(comparison_text(one, label), 66, break_on_hyphens=False)
        ax.text(-2.85, y, f"{quote}\n{what}", va="center", size=6.5)
        ax.text(1.05, y, f"{claim['verdict']}\n{text_of(one)}", va="center", size=6.5,
                color="black" if colour == "white" else colour)
        if y == 0 or claims[y - 1]["section"] != claim["section"]:
            ax.text(-3.3, y, claim["section"], va="center", size=7, weight="bold")
            ax.axhline(y - 0.5, color="#BBBBBB")
    ax.axvline(0, color="black", zorder=1.5)  # above the shading, below the marks
    ax.set(xlim=(-3.3, 1.8), ylim=(len(claims) - 0.5, -0.6))
    ax.axis("off")
    return fig, ("The paper’s claims, each on a scale of its own; the line is zero. Shaded: where "
                 "a claim holds. Bar: 95% interval; its mark is round where it holds, square where "
                 "it does not, hollow where undecided. Dots: seeds. Diamond: the paper. "
                 "Dotted: the baseline.")


def figure1(measures, artifacts, label):
    """3.1: the label distribution of the whole data set."""
    counts = measures["labels"].pivot(index="label", columns="split", values="sentences")
    counts, total = counts[list(SPLITS)], counts.sum(axis=1)
    fig, ax = plt.subplots(figsize=(5.6, 2.8))
    counts.plot.bar(stacked=True, ax=ax, width=0.72, rot=0, xlabel="", ylabel="sentences",
                    color=["#4C78A8", "#9ECAE1", "#F2F2F2"], edgecolor="black", linewidth=0.5)
    for i, n in enumerate(total):
        ax.text(i, n, f"{n:,}\n{n / total.sum():.1%}", ha="center", va="bottom")
    ax.set_xticks(range(len(LABELS)), LABELS)
    ax.margins(y=0.2)
    ax.legend([f"{split} ({n:,})" for split, n in counts.sum().items()], ncols=3,
              loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return fig, f"Label distribution of the data set, n = {total.sum():,} sentences, all splits."


def figure3(measures, artifacts, label):
    """3.8: the pipeline. What each script reads stands in its docstring."""
    steps = {"01_train.py": "models/", "02_distill.py": "models/",
             "03_explain.py": "subset.jsonl, explanations/", "04_evaluate.py": "measures/",
             "05_probes.py": "probes/, measures/",
             "06_figures.py": "report.md, explanations.html, figures/, tables/"}
    fig, ax = plt.subplots(figsize=(5.4, 3.2))
    ax.set(xlim=(0, 10), ylim=(5.5, -0.5))
    ax.axis("off")
    for y, (script, writes) in enumerate(steps.items()):
        before = (1.3, y - 0.7) if y else (1.3, y - 0.3)  # the script above
        ax.annotate("", (1.3, y - 0.3), before, arrowprops={"arrowstyle": "->"})
        ax.annotate(writes, (2.4, y), (3.6, y), va="center", arrowprops={"arrowstyle": "<-"})
        ax.text(1.3, y, script, ha="center", va="center",
                bbox={"boxstyle": "round", "facecolor": "#CFE6F5"})
    return fig, "The pipeline: each script, and what it writes for those below it."


def dot_plots(measures, artifacts, label, caption, titles, prefix=""):
    """Figures 4-7 and 10: two metrics side by side, a row for each model or pair whose
    name begins with prefix, such as "bert/"."""
    rows = frame_of(measures, titles[0])
    shown = [who for who in rows["pair" if "pair" in rows else "model"].unique()
             if who.startswith(prefix)]
    fig, axes = plt.subplots(1, 2, figsize=(7, 1 + 0.36 * len(shown)), sharey=True)
    for ax, title in zip(axes, titles):
        metric = METRICS[title]
        for y, who in enumerate(shown):
            e = estimate(measures, title, who)
            ax.plot([e["low"], e["high"]], [y, y], "k|-", linewidth=1, label="ours, 95% interval")
            ax.plot(e["mean"], y, "ko", markersize=7,
                    markerfacecolor=COLOURS.get(who.rpartition("/")[2], "white"))
            ax.plot(e["seeds"].values(), [y + 0.3] * len(e["seeds"]), "k.", markersize=4,
                    label="each seed")
            ax.plot(printed(title, who), y - 0.05, "wD", markeredgecolor="black", markersize=5,
                    label="paper")
            if metric.baseline:
                level = estimate(measures, title, who, value=metric.baseline)["mean"]
                ax.plot([level] * 2, [y - 0.4, y + 0.4], "k:", label="baseline")
        if NEXT in shown:
            ax.axvline(estimate(measures, title, NEXT)["mean"], color="black", linestyle="--",
                       linewidth=0.8, zorder=0, label=label(NEXT))
        ax.set_yticks(range(len(shown)), [label(who) for who in shown])
        ax.set(title=title, ylim=(len(shown) - 0.5, -0.5))
        ax.grid(axis="x", color="#EEEEEE")
    legend = {name: line for ax in axes for line, name in zip(*ax.get_legend_handles_labels())}
    fig.legend(legend.values(), legend, loc="outside lower center", ncols=5)
    return fig, caption


def figure8(measures, artifacts, label):
    """4.4: orientations of SHAP vectors. The projection only illustrates (A18): its dimension i is
    the token at position i, which is another token in every sentence. The angle measures."""
    seed, models = first_seed(measures), shown_models(measures)
    unit = [[0, 0]]  # a row that is dropped again: it makes at least two columns, as PCA needs
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.6, 3.6))
    for model in models:
        for row in load_explanations(artifacts, model, seed, "shap", load_subset(artifacts)):
            phi = predicted_attributions(row)
            unit.append(phi / (np.linalg.norm(phi) or 1))
    padded = np.array(list(zip_longest(*unit, fillvalue=0))).T  # (1 + models * 150, longest)
    clouds = np.split(PCA(2, svd_solver="full").fit_transform(padded[1:]), len(models))
    for model, mark, cloud in zip(models, "o^sD", clouds):
        left.scatter(*cloud.T, s=14, marker=mark, facecolor="none", edgecolor=COLOURS[model],
                     linewidth=0.8, label=label(model))
    for who in (*(f"{B}/{model}" for model in models[1:]), NEXT):
        rows = rows_of(measures, "polarity cosine", who)
        if len(rows):
            angles = np.degrees(np.arccos(rows["polarity_cosine"].dropna().clip(-1, 1)))
            right.hist(angles, range(0, 181, 10), weights=np.full(len(angles), 100 / len(angles)),
                       histtype="step", color=COLOURS.get(who.rpartition("/")[2], "black"),
                       label=f"{label(who)}: median {angles.median():.0f}°", linewidth=1.5)
    left.set(title="Illustration: two principal components", xticks=[], yticks=[])
    right.set(title="Measurement: the angle", ylabel="% of sentences", xticks=range(0, 181, 45),
              xlabel="degrees; 90: unrelated")
    for ax in (left, right):
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=7.5)
    return fig, (f"Left (A18): unit SHAP vectors of the predicted class, seed {seed}. Right: the "
                 "angle between attributions of the polarity score, which needs no choice of a "
                 "class, all seeds.")


def figure9(measures, artifacts, label):
    """4.5: signed token attributions of Table 5's sentence."""
    seed, models = first_seed(measures), shown_models(measures)
    fig, axes = plt.subplots(1, len(models), figsize=(7, 3.2), sharex=True, sharey=True)
    for ax, model in zip(axes, models):
        row = explained_rows(artifacts / f"probes/{model}_{seed}.shap.jsonl")["weak-joyful"]
        phi = predicted_attributions(row)
        ax.barh(range(len(phi)), phi, color=np.where(phi >= 0, "#0072B2", "#D55E00"),
                edgecolor="black", linewidth=0.5)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set_yticks(range(len(phi)), row["tokens"])
        ax.set_title(f"{label(model)}\nclass: {LABELS[row['predicted']]}", fontsize=8.5)
    axes[0].invert_yaxis()
    fig.supxlabel("SHAP value: below 0 it opposes that class, above 0 it supports it", fontsize=9)
    return fig, (f"Signed SHAP attributions of “{row['text']}” for the class that each model "
                 f"predicts, n = 1 sentence, seed {seed}.")


# --- The page: the paper's Figure 9 for every sentence, without a script

STYLE = """:root{color-scheme:light dark;font:16px/1.65 system-ui,sans-serif}
body{max-width:76rem;margin:0 auto;padding:0 1rem}h3,h4,p{margin:.3rem 0;overflow-wrap:anywhere}
article{border-top:1px solid #8888;padding:.7rem 0 1rem}nav a{margin-right:.6em;white-space:nowrap}
.models{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,15rem),1fr));gap:1rem}
i{font-style:normal}small,b,sub{font-size:.7em;font-weight:normal}
.p{background:rgba(0,114,178,var(--a))}
.n{background:rgba(213,94,0,var(--a));text-decoration:underline dotted}"""


def marked(row):
    """The sentence of an explained row, in HTML. A token, or LIME's word, is coloured by its share
    of the largest attribution to the predicted class; from half of that on, its value follows."""
    spans, values = row["spans"], row["attributions"]
    if "tokens" in row:
        spans, values = [[span] for span in spans], predicted_attributions(row)
    pieces = [(*place, value) for places, value in zip(spans, values) for place in places]
    largest, shown_to, html = max(map(abs, values), default=0) or 1, 0, ""
    for start, end, value in sorted(pieces):
        share, signed = abs(value) / largest, f"{value:+.2f}".replace("-", "−")
        sign, note = "n" if value < 0 else "p", f"<sub>{signed}</sub>" if share >= 0.5 else ""
        look = f'class="{sign}" style="--a:{0.6 * share:.2f}"' if share > 0.1 else ""
        html += (f"{escape(row['text'][shown_to:start])}<i title=\"{signed}\" {look}>"
                 f"{escape(row['text'][start:end])}{note}</i>")
        shown_to = end
    return html + escape(row["text"][shown_to:])


def page(measures, artifacts, label):
    """The sentences of the first seed, those first where KD-TinyBERT drifts furthest from BERT."""
    seed, subset = first_seed(measures), load_subset(artifacts)
    found = {row["id"]: {} for row in subset}
    for model, method in product(measures["models"]["model"].unique(), ("shap", "ig", "lime")):
        for row in load_explanations(artifacts, model, seed, method, subset):
            found[row["id"]].setdefault(model, {})[method] = row
    drift = rows_of(measures, "polarity cosine", BK, seed=seed).set_index("id")["polarity_cosine"]
    gold = {row["id"]: LABELS[row["label"]] for row in subset}
    links, articles = [], ""
    for key, cosine in drift.astype(float).sort_values().items():
        name, value = escape(key), "undefined" if np.isnan(cosine) else f"{cosine:.2f}"
        links.append(f'<a href="#{name}">{name} ({value})</a>')
        articles += (f'<article id="{name}"><h3>{name}, gold {gold[key]}: polarity cosine {value}'
                     "</h3><div class=models>")
        for model, by_method in found[key].items():
            row = by_method["shap"]
            right = "right" if row["predicted"] == row["label"] else "wrong"
            p = " ".join(f"{p:.2f}" for p in row["probabilities"])
            articles += (f"<div><h4>{escape(label(model))}: {LABELS[row['predicted']]}, {right}"
                         f"</h4><small>{p}</small>")
            for method, row in by_method.items():
                articles += f"<p><b>{EXPLAINERS[method]}</b> {marked(row)}</p>"
            articles += "</div>"
        articles += "</div></article>\n"
    return f"""<!doctype html><html lang=en><head><meta charset=utf-8><style>{STYLE}</style>
<meta name=viewport content="width=device-width,initial-scale=1"><title>Explanations</title></head>
<body><h1>Token attributions by model</h1><nav><p>Most drift from {escape(label(B))} to
{escape(label(K))}, with its polarity cosine: {" ".join(links[:10])}</p></nav><main>
<p>Drift is a low polarity cosine: how alike two models’ SHAP attributions of the polarity score
are, at most 1; it needs no choice of a class. The colours do: blue tokens support the class that
the model predicts, orange underlined tokens oppose it, so where two models predict differently, one
word may have two colours. The opacity is relative to the largest attribution. From half of that on,
the value follows the token; the others show on hover. Below a prediction: the probabilities of
{", ".join(LABELS)}. Models of seed {seed}. First the sentences of most drift.</p>
{articles}</main></body></html>
"""


# --- The report

RULE = (
    "A claim holds where the 95% interval lies inside a range that was stated before the run (with "
    "no reason beside it, the order that the paper states), does not hold where it lies outside, "
    "else is undecided; of several comparisons all must hold. The verdict is SHAP’s. The interval "
    "of a mean, not of a difference, is cut at the values that are possible; where all values "
    "are equal, it is the rule of three, ± 3 / sentences (or adjectives). n: seeds × sentences, or "
    "seeds × pairs of adjectives. A18 and the like are our readings, listed in the README.")


def ledger(claims, label):
    """The claims as Markdown."""
    lines, seeds = [], sorted({s for c in claims for one in c["comparisons"] for s in one["seeds"]})
    for claim in claims:
        ours, of_seeds, title = [], [], ""
        for one in claim["comparisons"]:
            what = escaped(comparison_text(one, label))
            what = what.removeprefix(f"{title}, ")  # a title is not repeated
            must = [f"{sign} {one[key]:g}" for sign, key in ((">", "above"), ("<", "below"))
                    if one[key] is not None]
            ours.append(f"{what}: {text_of(one)} ({', '.join(must)})")
            of_seeds.append(" ".join(number(one["seeds"].get(seed)) for seed in seeds))
            title = escaped(one["metric"])
        ours += [f"*{claim['reason']}*"] if claim["reason"] else []
        lines.append({"": claim["claim"], "§": claim["section"], "the paper says": claim["quote"],
                      "ours (range), *its reason*": "<br>".join(ours),
                      f"seeds {' '.join(map(str, seeds))}": "<br>".join(of_seeds),
                      "SHAP": claim["verdict"], "LIME": claim["lime"], "IG": claim["ig"]})
    return markdown(lines)


def listed(claims):
    return ", ".join(str(claim["claim"]) for claim in claims) or "none"


def gain_of_alignment(measures):
    """What KD-aligned gains and costs, in a few sentences. Of polarity cosines with BERT the share
    is mean(KD-aligned - KD-TinyBERT) / mean(BERT of the next seed - KD-TinyBERT), over the seeds
    that have a BERT of the next seed; its interval is that of the seeds' own ratios."""
    aligned = f"{B}/{ALIGNED}"
    gain, gap = (estimate(measures, "polarity cosine", who, BK)["seeds"] for who in (aligned, NEXT))
    seeds = [seed for seed in gap if seed in gain]
    if not seeds:
        return "KD-aligned and BERT of the next seed: not both in this run."
    share, total = "none", sum(gap[seed] for seed in seeds)
    if total > 0:  # else KD-TinyBERT agrees with BERT as much as a second BERT does
        ratios = pd.Series([gain[seed] / gap[seed] for seed in seeds if gap[seed]])
        _, low, high = interval(ratios)
        share = f"{sum(gain[seed] for seed in seeds) / total:.0%}"
        share += f" [{low:.0%}, {high:.0%}]" if np.isfinite(low) else ""

    def mean(title, who):
        return number(estimate(measures, title, who)["mean"])

    seconds = measures["models"].groupby("model")["training_seconds"].mean()
    return (f"**Can distillation keep the teacher’s reasons? KD-aligned closes {share} of the gap "
            "between KD-TinyBERT and a second BERT, that of the next seed. Polarity cosine with "
            f"BERT: KD-TinyBERT {mean('polarity cosine', BK)}, KD-aligned "
            f"{mean('polarity cosine', aligned)}, BERT of the next seed "
            f"{mean('polarity cosine', NEXT)}. Accuracy: KD-TinyBERT {mean('accuracy', K)}, "
            f"KD-aligned {mean('accuracy', ALIGNED)}, BERT {mean('accuracy', B)}. Training takes "
            f"{seconds[ALIGNED] / seconds[K]:.1f} times as long.** KD-aligned is distilled like "
            "KD-TinyBERT, and also on perturbed copies of each sentence and from the teacher’s "
            f"hidden states (claim {len(CLAIMS)}). The polarity cosine says how alike two models’ "
            "attributions, what each token adds to the prediction, are; it is at most 1.")


def opening(measures, artifacts, label, claims, stamp):
    """The first lines: what the intervals cover, the verdicts, whose models, how long."""
    models = measures["models"].drop_duplicates("model")
    seeds = sorted(measures["models"]["seed"].unique())
    covers = "trainings and sentences" if len(seeds) > 1 else "sentences alone, not trainings"
    lines = [f"**Seeds: {', '.join(map(str, seeds))}. The intervals cover {covers}.** "
             "[explanations.html](explanations.html) shows the sentences, most drift first.",
             gain_of_alignment(measures)]
    verdicts = [f"{verdict.capitalize()}: {listed(c for c in claims if c['verdict'] == verdict)}."
                for verdict in (HOLDS, FAILS, OPEN, UNTESTED)]
    lines.append("[Claims](#claims) of the paper, the last its question for future work. "
                 f"{' '.join(verdicts)}")
    changed = []
    for seed in seeds if len(seeds) > 1 else ():
        differ = [c for c in claims if c["by_seed"].get(seed, c["verdict"]) != c["verdict"]]
        changed.append(f"seed {seed}: {len(differ)} ({listed(differ)})")
    if changed:
        lines.append(f"Verdicts that one seed alone would change, {'; '.join(changed)}.")
    others = []
    for explainer in ("lime", "ig"):
        differ = [c for c in claims if c[explainer] not in ("", UNTESTED, c["verdict"])]
        there = sorted(set(rows_of(measures, "cosine", BK, explainer=explainer).get("seed", [])))
        of = "" if there == seeds else f" (seeds: {', '.join(map(str, there)) or 'none'})"
        others.append(f"{EXPLAINERS[explainer]}{of} on {listed(differ)}")
    lines.append(f"Another verdict than SHAP’s: {'; '.join(others)}.")
    jaccard, cosine = (estimate(measures, t, NEXT) for t in ("Jaccard@10", "polarity cosine"))
    if jaccard["n"]:
        lines.append("Two BERTs that differ in their seed alone agree to a Jaccard@10 of "
                     f"{text_of(jaccard)} and a polarity cosine of {text_of(cosine)}: what to "
                     "expect without compression.")
    if gold_control(measures) == BD:  # then claim 17's pairs are claim 10's
        pairs = {BD, BK, CONTROL}
        same = [claim for claim in claims for one in claim["comparisons"]
                if one["metric"] == "polarity cosine" and {one["of"], one["minus"]} <= pairs]
        lines.append(f"Claims {listed(same)} are one comparison here: DistilBERT starts as "
                     "KD-TinyBERT does and learns from gold labels, so it is the control.")
    stand_ins = {}  # {what it is: the models that it stands for}
    for row in models.itertuples():
        what = f"{Path(row.checkpoint).name}, {row.layers} layers, {row.parameters:,} parameters"
        if label(row.model).endswith("*"):
            stand_ins.setdefault(escaped(what), []).append(escaped(label(row.model)))
    if stand_ins:
        places = "; ".join(f"{', '.join(who)}: {what}" for what, who in stand_ins.items())
        lines.append(f"\\* A stand-in, not of the size that 3.2 gives. {places}. A verdict is on "
                     "the paper’s pattern, not on its models.")
    runs = pd.DataFrame(read_jsonl(artifacts / "runs.jsonl"))
    machines, minutes = "; ".join(runs["machine"].unique()), runs["seconds"].sum() / 60
    lines.append(f"Commit {stamp['commit']}, {stamp['device']}, {machines}, {minutes:.0f} minutes "
                 "of all calls.")
    return "\n".join(f"- {line}" for line in lines)


def examples(subset):
    """Figure 2 as Markdown: examples of the balanced subset, the first of each class."""
    rows = pd.DataFrame(subset).drop_duplicates("label").sort_values("label")
    lines = [{"gold": f"{row.label} {LABELS[row.label]}",
              "text": escaped(textwrap.shorten(row.text, 100, placeholder=" …"))}
             for row in rows.itertuples()]
    return f"Figure 2. The first sentence of each class, of {len(subset)}.\n\n{markdown(lines)}"


def completeness(measures):
    """How far integrated gradients are from summing up to what they explain, in a sentence."""
    gaps = measures.get("completeness", pd.DataFrame())
    if gaps.empty:
        return "IG, integrated gradients, is not in this run."
    gaps = gaps.groupby(["seed", "model"])["relative_gap"]
    return ("IG, integrated gradients, never removes a token; its attributions miss the change of "
            f"the probabilities by {gaps.median().max():.2%} or less in each model’s median "
            f"sentence, by {gaps.quantile(0.95).max():.1%} or less in 95%, BERT of the next seed "
            "included.")


def pick_cases(bert, kd, cosines):
    """3.7 (6), by rule (A26): {rule: (id, value)}. bert, kd: explained rows; cosines: their
    polarity cosines, a series by id. "but" must not be the first word."""
    margins = {row["id"]: np.diff(np.sort(row["probabilities"]))[-1] for row in bert}
    with_but = [row["id"] for row in bert if "but" in re.findall(r"\w+", row["text"].lower())[1:]]
    kd_right = [row["id"] for row in kd if row["predicted"] == row["label"]]
    found = {
        "Borderline: the smallest margin of BERT’s two likeliest classes": pd.Series(margins),
        "Contrastive: “but” inside, the lowest polarity cosine": cosines[with_but],
        "KD-TinyBERT right, the lowest polarity cosine": cosines[kd_right]}
    return {rule: (values.idxmin(), values.min()) for rule, values in found.items()
            if values.notna().any()}


def cases(measures, artifacts):
    """The cases of the first seed as Markdown, with links to the page."""
    seed, subset = first_seed(measures), load_subset(artifacts)
    bert, kd = (load_explanations(artifacts, model, seed, "shap", subset) for model in (B, K))
    cosines = rows_of(measures, "polarity cosine", BK, seed=seed).set_index("id")["polarity_cosine"]
    text = {row["id"]: textwrap.shorten(row["text"], 90, placeholder=" …") for row in subset}
    lines = [f"- {rule}, {value:.3f}: “{escaped(text[key])}” [{escaped(key)}]"
             f"(explanations.html#{key})"
             for rule, (key, value) in pick_cases(bert, kd, cosines).items()]
    return "\n".join([f"## Cases\nSection 3.7 (6), seed {seed}, by rule (A26).", *lines])


def parse_args(argv=None):
    return cli(__doc__).parse_args(argv)


def main(args):
    artifacts = Path(args.artifacts)
    measures, stamp = load_measures(artifacts)
    names, claims = labels_of(measures["models"]), judge_claims(measures)

    def label(who):  # of a model, a pair, an explainer or two, or a bucket
        return names.get(who) or "–".join(names.get(part, part) for part in who.split("/"))

    def figure(i, draw, *arguments):
        with plt.rc_context(LAYOUT):
            fig, caption = draw(measures, artifacts, label, *arguments)
            fig.savefig(artifacts / f"figures/figure{i}.png")
            plt.close(fig)
        return f"![Figure {i}](figures/figure{i}.png)<br>*Figure {i}. {escaped(caption)}*"

    (artifacts / "figures").mkdir(exist_ok=True)
    estimates, text = [], {}
    for heading in TABLES:
        records, text[heading] = table(measures, label, heading)
        estimates += records
    write_jsonl(artifacts / "tables/estimates.jsonl", estimates)
    write_jsonl(artifacts / "tables/claims.jsonl", claims)
    report = "\n\n".join([
        "# Faithfulness and reasoning drift: this run against the paper",
        opening(measures, artifacts, label, claims, stamp),
        figure(10, dot_plots, "Agreement with BERT by SHAP; KD-aligned is what Section 6 proposes.",
               ("polarity cosine", "Jaccard@10"), f"{B}/"), figure(0, figure0, claims),
        f"## Claims\n{RULE} {completeness(measures)}", ledger(claims, label),
        f"## The data and the pipeline\n{figure(1, figure1)}", examples(load_subset(artifacts)),
        figure(3, figure3),
        text["Accuracy and F1"],
        figure(4, dot_plots, "The test split.", ("accuracy", "weighted F1")),
        text["Table 1"], figure(5, dot_plots, "The top 3 SHAP tokens removed; baseline: 3 random.",
                                ("ConfDrop@3", "FlipRate@3")),
        text["Table 2"], figure(6, dot_plots, "The top 10 SHAP tokens; baseline: random sets.",
                                ("Jaccard@10", "Overlap@10")),
        text["Table 3"], figure(7, dot_plots, "Signed SHAP attributions: mean cosine.",
                                ("cosine", "polarity cosine")), figure(8, figure8),
        text["Table 4"], table5(measures, label), figure(9, figure9), text["Words"],
        text["Negation"], text["Faithfulness by explainer"], text["Agreement by explainer"],
        text["Explainers"], text["Buckets"], cases(measures, artifacts)])
    write_text(artifacts / "report.md", f"{report}\n")
    write_text(artifacts / "explanations.html", page(measures, artifacts, label))
    for claim in claims:
        print(f"{claim['claim']:2} {claim['verdict']:13} {claim['quote'][:75]}")
    print(f"wrote {artifacts / 'report.md'} and explanations.html")


if __name__ == "__main__":
    run(main, parse_args())
