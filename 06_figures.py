"""Sections 4 and 5: the paper's tables and figures beside ours, its claims judged, cases shown.

Reads   measures/, subset.jsonl, explanations/, probes/, settings/
Writes  report.md (with Figure 2), explanations.html, figures/*.png, tables/*.jsonl

    python 06_figures.py --artifacts artifacts
    python 06_figures.py --artifacts artifacts --beside other-artifacts

Files only, never a model: seconds, anywhere. Every number has a title, such as "ConfDrop@3".
METRICS says of each title which column of which measure it averages, and what the paper printed;
estimate() computes its mean and its interval, or those of a difference. Tables, claims and figures
only name titles (but for Table 5, which table5() has).
"""
import re
import textwrap
from html import escape
from itertools import product
from pathlib import Path
from typing import NamedTuple

from common import (LABELS, MODELS, PAIRS, PAPER_MODELS, SPLITS, cli, in_order, kit_commit,
                    load_explanations, load_subset, predicted_attributions, read_json, read_jsonl,
                    run, stop, write_jsonl, write_text)

import matplotlib.pyplot as plt  # after common, which chooses where it draws
import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import f1_score

EXPLAINERS = {"shap": "SHAP", "lime": "LIME", "ig": "IG",
              "shap_mask": "SHAP with [MASK] as reference",
              "lime_resampled": "LIME with another seed"}
CONTROLS = dict.fromkeys([*range(9), 11, 12, *range(14, 32), *range(127, 160)], "�")  # shown so
# Models and pairs go by the names of the measures: "bert", "bert/kd_tinybert". Two are special:
#   "bert/bert_next"      BERT of a seed with BERT of that seed + 1: how much two BERTs agree
#   "bert/gold_control"   in a claim only: stands for the pair that gold_control() finds


# --- One statistic

def mean_and_interval(values):
    """(mean, low, high): the mean of a series without missing values, and its 95% interval.

    The values fill a table of seeds x sentences, or of seeds x positive x negative adjectives: the
    levels of the index, seeds first. Other seeds would give another mean, and so would other
    sentences, so the variance of the mean is a sum of terms: the variance of the seeds' means /
    number of seeds + that of the sentences' means / number of sentences. Each term contains the
    residual, so the sum is rather too large. A level of one entry is left out; so of one seed the
    interval covers sentences alone. If no level is left, low and high are NaN.

    The interval is mean +- t * the square root of that sum, with Satterthwaite's degrees of freedom
    for a sum. With few seeds that is too narrow where seeds differ most, so the interval is at
    least as wide as that of each term alone. If all means are equal, it is mean +- 3.7 / n: of n
    independent equal values one concludes, at 95%, that at most this share of all values differs.
    Seeds share their sentences, so n is the number of values of one seed, that with fewest.
    """
    mean = values.mean()
    levels = [values.groupby(level=level).mean() for level in range(values.index.nlevels)]
    levels = [means for means in levels if len(means) > 1]
    if not levels:
        half = np.nan
    elif max(map(np.ptp, levels)) < 1e-12:
        half = 3.7 / values.groupby(level=0).size().min()
    else:
        terms = np.array([means.var() / len(means) for means in levels])
        freedom = np.array([len(means) - 1 for means in levels])
        of_sum = terms.sum()**2 / (terms**2 / freedom).sum()
        half = max(stats.t.ppf(0.975, of_sum) * np.sqrt(terms.sum()),
                   *(stats.t.ppf(0.975, freedom) * np.sqrt(terms)))
    return mean, mean - half, mean + half


# --- What is averaged, and what the paper printed

SIGNED = (-1, 1)


class Metric(NamedTuple):
    measure: str  # the rows of measures/<measure>*.jsonl
    column: str
    paper: tuple = ()  # what the paper printed, for each of PAPER_MODELS or of PAIRS
    paper_sd: tuple = ()
    baseline: str = ""  # the column of what chance gives
    k: int | None = None  # only the rows of this k
    limits: tuple = (0, 1)  # the least and the largest possible value; most are rates or shares


METRICS = {
    "accuracy": Metric("predictions", "right", (0.538, 0.517, 0.541), baseline="is_most_frequent"),
    "accuracy − most frequent class": Metric("predictions", "over_most_frequent", limits=SIGNED),
    "weighted F1": Metric("weighted_f1", "weighted_f1", (0.532, 0.487, 0.530)),
    "same class as BERT": Metric("predictions", "as_bert"),
    "ConfDrop@3": Metric("faithfulness", "confidence_drop", (0.096, 0.149, 0.042),
                         (0.100, 0.107, 0.110), "random_drop", 3, SIGNED),
    "ConfDrop@3 − random": Metric("faithfulness", "drop_over_random", k=3, limits=SIGNED),
    "ConfDrop@3, replaced by [MASK]": Metric("faithfulness", "masked_drop", k=3, limits=SIGNED),
    "FlipRate@3": Metric("faithfulness", "flip", (0.447, 0.393, 0.000), baseline="random_flip",
                         k=3),
    "FlipRate@3 − random": Metric("faithfulness", "flip_over_random", k=3, limits=SIGNED),
    "FlipRate@3, replaced by [MASK]": Metric("faithfulness", "masked_flip", k=3),
    "ConfDrop@k": Metric("faithfulness", "confidence_drop", baseline="random_drop", limits=SIGNED),
    "FlipRate@k": Metric("faithfulness", "flip", baseline="random_flip"),
    "short-token ratio": Metric("short_tokens", "short_token_ratio", (0.335, 0.352, 0.330),
                                baseline="short_share_of_words"),
    "Jaccard@10": Metric("agreement", "jaccard", (0.468, 0.453, 0.449), baseline="chance_jaccard",
                         k=10),
    "Overlap@10": Metric("agreement", "overlap", (0.625, 0.608, 0.602), baseline="chance_overlap",
                         k=10),
    "cosine": Metric("direction", "cosine", (0.720, 0.592, 0.566), (0.351, 0.430, 0.429),
                     limits=SIGNED),
    "variance of the cosine": Metric("direction", "cosine_deviation",
                                     (0.351**2, 0.430**2, 0.429**2)),  # the paper's SDs, squared
    "polarity cosine": Metric("direction", "polarity_cosine", limits=SIGNED),
    "variance of the polarity cosine": Metric("direction", "polarity_cosine_deviation"),
    "cosine, top 10": Metric("direction", "cosine_top10", limits=SIGNED),
    "same prediction": Metric("direction", "same_prediction"),
    "post-but ratio": Metric("contrast", "post_but_ratio", (0.641, 0.614, 0.650),
                             (0.090, 0.066, 0.112), "uniform_ratio"),
    "post-but ratio − equal credit": Metric("contrast", "ratio_over_uniform", limits=SIGNED),
    "ratio, “but” − “and”": Metric("contrast", "but_minus_and", limits=SIGNED),
    "follows second clause": Metric("contrast", "follows_second_clause"),
    "swaps with clauses": Metric("contrast", "swaps_with_clauses"),
    "less confident without “but”": Metric("contrast", "less_confident_without_but"),
    "confidence drop without “but”": Metric("contrast", "confidence_drop_without_but",
                                            limits=SIGNED),
    "if right, adjective not in top 3": Metric("contrast", "cue_not_in_top3",
                                               baseline="chance_cue_not_in_top3"),
    "if right, adjective not in top 3 − chance": Metric("contrast", "cue_not_in_top3_over_chance",
                                                        limits=SIGNED),
    "function words": Metric("words", "function_share", baseline="function_token_share"),
    "sentiment words": Metric("words", "sentiment_share", baseline="sentiment_token_share"),
    "if right, no sentiment word in top 3": Metric("words", "cue_not_in_top3",
                                                   baseline="chance_cue_not_in_top3"),
    "not": Metric("negation", "not"), "never": Metric("negation", "never"),
    "n't": Metric("negation", "n't"), "hardly": Metric("negation", "hardly"),
    "out of scope": Metric("negation", "out of scope"),
    "Jaccard@3": Metric("explainers", "jaccard", baseline="chance_jaccard", k=3)}
# What identifies a row, where it is not seed and sentence (id). Two adjectives make two sentences:
# second_polarity says which of them stands second.
KEYS = {"contrast": ["seed", "positive", "negative", "second_polarity"],
        "negation": ["seed", "adjective"], "weighted_f1": ["seed"]}


def seeds_of(measures):
    return sorted(measures["models"]["seed"].unique().tolist())


def values_of(measures, title, of, baseline=False, **filters):
    """The values of a metric, or of its baseline, for a model, such as "bert", or a pair, such as
    "bert/distilbert": a series indexed by what identifies a row, empty if there is no row.

    filters: {column: value} of the rows to take, explainer="shap" unless told otherwise. A measure
    without such a column is taken whole: accuracy depends on no explainer.
    """
    metric = METRICS[title]
    rows, keys = measures[metric.measure], KEYS.get(metric.measure, ["seed", "id"])
    filters = {"explainer": "shap"} | ({"k": metric.k} if metric.k else {}) | filters
    filters["pair" if "/" in of else "model"] = (
        gold_control(measures) if of == "bert/gold_control" else of)
    for key, value in filters.items():
        if key in rows:
            rows = rows[rows[key] == value]
    column = metric.baseline if baseline else metric.column
    if rows.empty:  # a measure without any rows has no columns either
        rows = pd.DataFrame(columns=[*keys, column])
    return rows.set_index(keys)[column].astype(float)


def estimate(measures, title, of, minus=None, **filters):
    """The mean of a metric for a model or a pair, or, with minus, of its difference from that of
    another, matched row by row; and its 95% interval. A null row is left out, and a difference
    needs both rows: "if right, ..." is compared on what both models get right. The result has

    mean, low, high   of cells: one for each seed and sentence, or for each seed and two adjectives,
                      whose two orders are averaged
    n, all_equal      the number of cells; whether they have one value
    seeds             {seed: the mean of its cells}
    sd                the SD of a seed's rows, as the paper's ±, a mean over seeds
    baseline          the mean of the metric's baseline; NaN for a difference

    Without an interval, low and high are NaN: F1, which is no mean of rows; BERT with BERT of the
    next seed, whose pairs share models (RULE says what a difference from it assumes); and cells of
    one seed in a run of several, which cannot tell how much trainings differ."""
    metric = METRICS[title]
    values, baseline = values_of(measures, title, of, **filters), np.nan
    keys = [key for key in values.index.names if key != "second_polarity"]
    least, largest = metric.limits
    if minus:  # pandas matches the rows by their index
        values = values - values_of(measures, title, minus, **filters)
        least, largest = least - largest, largest - least
    elif metric.baseline:
        of_chance = values_of(measures, title, of, baseline=True, **filters)
        baseline = of_chance.groupby(keys).mean().mean()
    cells = values.groupby(keys).mean().dropna()
    seeds = cells.groupby("seed").mean().to_dict()
    mean, low, high = mean_and_interval(cells)
    one_of_several = len(seeds) == 1 < len(seeds_of(measures)) and "seed" not in filters
    if metric.measure == "weighted_f1" or of == "bert/bert_next" and not minus or one_of_several:
        low = high = np.nan
    return {"mean": mean, "sd": values.groupby("seed").std().mean(),
            "low": np.maximum(low, least), "high": np.minimum(high, largest), "n": len(cells),
            "seeds": seeds, "all_equal": bool(cells.max() - cells.min() < 1e-12),
            "baseline": baseline}


def paper_value(title, of, minus=None, sd=False):
    """The paper's mean, or SD, of a metric for a model or a pair, with minus its difference from
    that of another; NaN where it prints none."""
    values = METRICS[title].paper_sd if sd else METRICS[title].paper
    value = dict(zip(PAIRS if "/" in of else PAPER_MODELS, values)).get(of, np.nan)
    return value - paper_value(title, minus) if minus else value


def three_digits(value):
    """Three digits after the point; a dash for NaN."""
    return "–" if np.isnan(value) else f"{value:z.3f}"  # z: never -0.000


def estimate_text(e, sd=False):
    """ "0.096 ± 0.100 [0.080, 0.112]" of an estimate; † where all its values are equal."""
    ends = ""
    if np.isfinite(e["low"]):
        ends = f" [{three_digits(e['low'])}, {three_digits(e['high'])}]" + "†" * e["all_equal"]
    return three_digits(e["mean"]) + (f" ± {three_digits(e['sd'])}" if sd else "") + ends


# --- The measures, and what the models are called

def models_to_show(folder):
    """[(model, seed), ...]: the models that 04 and 05 measured, at each seed that has the paper's
    three. The others, such as BERT of the next seed, are named on the terminal."""
    rows = [row for path in folder.glob("models.*.jsonl") for row in read_jsonl(path)]
    measured = in_order([(row["model"], row["seed"]) for row in rows])
    probed = [(model, seed) for model, seed in measured
              if (folder / f"words.{model}_{seed}.jsonl").is_file()]
    shown = [(model, seed) for model, seed in probed
             if {(of_paper, seed) for of_paper in PAPER_MODELS} <= set(probed)]
    left_out = [f"{model}_{seed}" for model, seed in measured if (model, seed) not in shown]
    if left_out:
        print(f"not shown: {', '.join(left_out)}; a model is shown if 04 and 05 measured it and "
              f"{', '.join(PAPER_MODELS)} of its seed")
    if not shown:
        stop(f"no seed in {folder} has {', '.join(PAPER_MODELS)}, measured by 04 and by 05")
    return shown


def load_measures(artifacts):
    """{measure: its rows, a frame} of the models to show. The rows of "bert/bert_next" stand with
    BERT of the next seed, of which nothing else is shown unless its own seed is."""
    folder, measures = artifacts / "measures", {}
    shown = models_to_show(folder)
    seeds = {seed for _, seed in shown}
    for measure in sorted({path.name.partition(".")[0] for path in folder.glob("*.jsonl")}):
        of_pairs = measure in ("agreement", "direction")
        files = in_order({*shown, *(("bert", seed + 1) for seed in seeds if of_pairs)})
        paths = [folder / f"{measure}.{model}_{seed}.jsonl" for model, seed in files]
        rows = pd.DataFrame([row for path in paths if path.is_file() for row in read_jsonl(path)])
        # A column of nulls alone would be of type object, which pandas does not average.
        rows = rows.astype({column: float for column in rows if rows[column].isna().all()})
        if of_pairs:  # without that of the BERT before the first seed
            rows = rows[rows["seed"].isin(seeds)].reset_index(drop=True)
        measures[measure] = rows
    measures["labels"] = pd.DataFrame(read_jsonl(artifacts / "labels.jsonl", "03 writes it"))
    add_derived_columns(measures)
    return measures


BUCKETS = {  # 3.7 (5): whether BERT, DistilBERT and KD-TinyBERT are right
    (True, True, True): "all_correct", (False, False, False): "all_wrong",
    (True, False, False): "bert_only", (False, True, False): "dbert_only",
    (False, False, True): "kd_only", (True, False, True): "bert_kd_pair",
    (False, True, True): "dbert_kd_pair", (True, True, False): "bert_dbert"}


def add_derived_columns(measures):
    """What needs other rows: the baseline of accuracy and the excess over it; whether BERT of the
    seed predicts the same class; the bucket of a sentence (3.7 (5)); weighted F1; and the squared
    deviation of a cosine from its seed's mean, whose mean is the variance."""
    predictions = measures["predictions"]
    predictions["is_most_frequent"] = predictions["label"] == predictions["label"].mode()[0]
    predictions["over_most_frequent"] = (
        predictions["right"].astype(float) - predictions["is_most_frequent"])
    of_sentence = predictions.pivot(index=["seed", "id"], columns="model")
    bert = of_sentence["predicted"]["bert"].rename("bert")
    predictions["as_bert"] = (
        predictions["predicted"] == predictions.join(bert, ["seed", "id"])["bert"])
    right = of_sentence["right"][list(PAPER_MODELS)].itertuples(index=False, name=None)
    bucket = pd.Series(map(BUCKETS.get, right), of_sentence.index, name="bucket")
    direction = measures["direction"]
    for rows in (measures["agreement"], direction):
        rows["bucket"] = bucket.reindex(pd.MultiIndex.from_frame(rows[["seed", "id"]])).to_numpy()
    f1 = predictions.groupby(["seed", "model"])[["label", "predicted"]].apply(
        lambda rows: f1_score(rows["label"], rows["predicted"], average="weighted"))
    measures["weighted_f1"] = f1.rename("weighted_f1").reset_index()
    for column in ("cosine", "polarity_cosine"):
        mean = direction.groupby(["seed", "pair", "explainer"])[column].transform("mean")
        direction[f"{column}_deviation"] = (direction[column] - mean)**2


def display_names(models):
    """{model, explainer or pair: its name in print}. A model with an asterisk is not of the type
    and the size that 3.2 gives: a stand-in, or a student of another size."""
    names = EXPLAINERS | {"bert/bert_next": "BERT of the next seed",
                          "gold_control": "gold-label control"}
    for row in models.drop_duplicates("model").itertuples():
        # Layers, whole millions of parameters: 3.2's 110 M of BERT-base are 109.5 M.
        size = (12, 109) if row.model == "bert" else (6, 66)
        own = row.type in ("bert", "distilbert") and (row.layers, row.parameters // 10**6) == size
        names[row.model] = MODELS.get(row.model, row.model) + ("" if own else "*")
    return names


def gold_control(measures):
    """BERT's pair with the gold-label control, the model that differs from KD-TinyBERT in its
    objective alone (A34): TinyBERT-CE, or DistilBERT if both start from one checkpoint, or None."""
    if "tinybert_ce" in set(measures["models"]["model"]):
        return "bert/tinybert_ce"
    return "bert/distilbert" if one_start(measures) else None


def one_start(measures):
    """Whether DistilBERT and KD-TinyBERT start from one checkpoint, as those of cpu and base do.
    Then they share head, batches and dropout too, and agree more than two trainings would."""
    digests = dict(zip(measures["models"]["model"], measures["models"]["checkpoint_digest"]))
    return digests["distilbert"] == digests["kd_tinybert"]


# --- The claims, and where our number must lie for each to hold; the end of RULE says what had been
# seen when they were last changed

HOLDS, FAILS, OPEN, UNTESTED = "holds", "does not hold", "undecided", "not tested"
DECIDED = {HOLDS, FAILS}


class Comparison(NamedTuple):
    """The metric's mean for a model or pair, or its difference from that of another, must lie above
    and below these bounds."""
    metric: str
    of: str
    minus: str | None = None
    above: float | None = None
    below: float | None = None


class Claim(NamedTuple):
    number: int
    section: str
    quote: str
    comparisons: tuple
    remark: str = ""  # why this range; without one, the range is the order that the paper states


QUESTION = 20  # no claim but the paper's question for future work: it is counted apart
CLAIMS = (
    Claim(1, "Abstract", "Based on the contrastive probe, TinyBERT frequently arrives at the "
          "correct label … for the wrong reasons",
          (Comparison("if right, adjective not in top 3", "kd_tinybert", above=0.1),
           Comparison("if right, adjective not in top 3", "kd_tinybert", "bert", above=0)),
          "“frequently”: one right sentence in ten, and more often than BERT does"),
    Claim(2, "4.1", "broadly similar performance on the SST-5 test set",
          (Comparison("accuracy", "distilbert", "bert", above=-0.05, below=0.05),
           Comparison("accuracy", "kd_tinybert", "bert", above=-0.05, below=0.05)),
          "about twice the largest difference between two models of the paper, 0.024"),
    Claim(3, "4.2", "DistilBERT shows the largest confidence drop, followed by BERT, while "
          "KD-TinyBERT exhibits the smallest",
          (Comparison("ConfDrop@3", "distilbert", "bert", above=0),
           Comparison("ConfDrop@3", "bert", "kd_tinybert", above=0))),
    Claim(4, "4.2", "BERT and DistilBERT both have substantial flip rates",
          (Comparison("FlipRate@3 − random", "bert", above=0.1),
           Comparison("FlipRate@3 − random", "distilbert", above=0.1)),
          "one sentence in ten beyond what random tokens flip"),
    Claim(5, "4.2", "KD-TinyBERT’s flip rate is effectively zero",
          (Comparison("FlipRate@3", "kd_tinybert", below=0.05),), "one sentence in twenty"),
    Claim(6, "4.2", "The short-token ratios are very similar across all three models",
          (Comparison("short-token ratio", "distilbert", "bert", above=-0.05, below=0.05),
           Comparison("short-token ratio", "kd_tinybert", "bert", above=-0.05, below=0.05)),
          "half a word of ten that LIME chooses, for the first seed alone"),
    Claim(7, "4.3", "DistilBERT remains closer to its teacher (BERT) than KD-TinyBERT. KD-TinyBERT "
          "exhibits the lowest similarity",
          (Comparison("Jaccard@10", "bert/distilbert", "bert/kd_tinybert", above=0),
           Comparison("Jaccard@10", "bert/distilbert", "distilbert/kd_tinybert", above=0)),
          "where both students start from one checkpoint, the second does not count: they agree "
          "whatever distillation does"),
    Claim(8, "4.3", "indicating clear reasoning drift",
          (Comparison("Jaccard@10", "bert/bert_next", "bert/kd_tinybert", above=0),),
          "less agreement than between two BERTs"),
    Claim(9, "4.4", "DistilBERT aligns more strongly with BERT in directional reasoning than "
          "KD-TinyBERT", (Comparison("cosine", "bert/distilbert", "bert/kd_tinybert", above=0),)),
    Claim(10, "4.4", "The drop from 0.72 … to 0.59 … indicates a divergence in how compressed "
          "models weigh positive vs. negative cues",
          (Comparison("polarity cosine", "bert/distilbert", "bert/kd_tinybert", above=0),),
          "it quotes cosines of each model’s own class; judged by the polarity cosine, which asks "
          "both models one question"),
    Claim(11, "4.4", "The large variance for KD-TinyBERT (std ~ 0.43) further reflects instability",
          (Comparison("variance of the cosine", "bert/kd_tinybert", "bert/distilbert", above=0),
           Comparison("variance of the polarity cosine", "bert/kd_tinybert", "bert/distilbert",
                      above=0)), "larger than DistilBERT’s, of both cosines"),
    Claim(12, "4.5", "all three models exhibit post-but ratios well above chance level",
          tuple(Comparison("post-but ratio − equal credit", model, above=0.05)
                for model in PAPER_MODELS),
          "about half of the smallest excess of the paper, 0.614 − 0.5"),
    Claim(13, "4.5", "they generally recognize the contrastive structure",
          tuple(Comparison("ratio, “but” − “and”", model, above=0) for model in PAPER_MODELS),
          "“but” moves more credit to the second clause than “and”"),
    Claim(14, "4.5", "BERT demonstrates the strongest … preference for the post-but clause",
          (Comparison("post-but ratio", "bert", "distilbert", above=0),
           Comparison("post-but ratio", "bert", "kd_tinybert", above=0)),
          "in the paper’s own Table 4 KD-TinyBERT’s is higher, 0.650 against 0.641"),
    Claim(15, "4.5", "greater reliance on token-level polarity in the distilled models",
          (Comparison("confidence drop without “but”", "bert", "distilbert", above=0),
           Comparison("confidence drop without “but”", "bert", "kd_tinybert", above=0)),
          "without “but” BERT’s confidence in its polarity falls further than theirs"),
    Claim(16, "5.2", "assigns high importance to neutral function words … while underweighting "
          "actual sentiment-bearing tokens",
          (Comparison("function words", "kd_tinybert", "bert", above=0),
           Comparison("sentiment words", "kd_tinybert", "bert", below=0))),
    Claim(17, "5.2", "This behavioral pattern is a direct consequence of the distillation "
          "objective",
          (Comparison("polarity cosine", "bert/kd_tinybert", "bert/gold_control", below=0),),
          "the control starts as KD-TinyBERT does and learns from gold labels"),
    Claim(18, "5.3", "only BERT and DistilBERT used the correct sentiment-bearing tokens … "
          "KD-TinyBERT often reproduced the correct label while ignoring the critical polarity "
          "cues entirely",
          (Comparison("if right, adjective not in top 3 − chance", "bert", below=0),
           Comparison("if right, adjective not in top 3 − chance", "distilbert", below=0),
           Comparison("if right, adjective not in top 3 − chance", "kd_tinybert", above=0)),
          "BERT and DistilBERT miss them less than random tokens do, KD-TinyBERT more"),
    Claim(19, "5.4", "maintains predictive accuracy at the expense of reasoning fidelity",
          (Comparison("accuracy", "kd_tinybert", "bert", above=-0.05),
           Comparison("polarity cosine", "bert/kd_tinybert", "bert/bert_next", below=0)),
          "0.05 as in 4.1; fidelity: less than between two BERTs"),
    Claim(QUESTION, "6", "may explore whether hybrid distillation strategies … can mitigate the "
          "spurious patterns",
          (Comparison("polarity cosine", "bert/kd_aligned", "bert/kd_tinybert", above=0),
           Comparison("Jaccard@10", "bert/kd_aligned", "bert/kd_tinybert", above=0)),
          "a question for future work there; KD-aligned agrees more with BERT"))


def verdict_on(low, high, comparison):
    """The verdict on an interval that must lie above and below the comparison's bounds. One that
    reaches a bound, or is NaN, is undecided."""
    above = -np.inf if comparison.above is None else comparison.above
    below = np.inf if comparison.below is None else comparison.below
    if above < low and high < below:
        return HOLDS
    return FAILS if high < above or below < low else OPEN


def learned_nothing(measures, **filters):
    """The models that are not shown to be more accurate than the most frequent class: the interval
    of the difference does not lie above 0."""
    title = "accuracy − most frequent class"
    return [model for model in measures["models"]["model"].unique()
            if estimate(measures, title, model, **filters)["low"] <= 0]


def models_of(measures, comparisons):
    """The models that comparisons rest on; "bert/bert_next" rests on "bert"."""
    names = "/".join(f"{one.of}/{one.minus or ''}" for one in comparisons)
    return set(names.replace("bert/gold_control", f"{gold_control(measures)}").split("/"))


def judge(measures, comparisons, useless, **filters):
    """(verdict of a claim, its comparisons with estimates and verdicts), by SHAP and of all seeds
    if filters name no other. What rests on a model in useless, see learned_nothing(), is not
    tested. The claim's verdict is the worst of its comparisons', in the order: does not hold, not
    tested, undecided, holds. DistilBERT's pair with KD-TinyBERT does not count if one_start()."""
    testable = models_of(measures, comparisons).isdisjoint(useless)
    results, verdicts = [], set()
    for one in comparisons:
        e = estimate(measures, one.metric, one.of, one.minus, **filters)
        counts = one.minus != "distilbert/kd_tinybert" or not one_start(measures)
        tested = e["n"] and testable and counts
        verdict = verdict_on(e["low"], e["high"], one) if tested else UNTESTED
        if counts:
            verdicts.add(verdict)
        results.append(one._asdict() | e | {"verdict": verdict})
    return next((v for v in (FAILS, UNTESTED, OPEN) if v in verdicts), HOLDS), results


def verdict_of_the_paper(claim):
    """What the paper's own means say of a claim: "holds", "does not hold", "holds in part" where
    they exist for some of its comparisons, "" where it prints none."""
    values = [paper_value(one.metric, one.of, one.minus) for one in claim.comparisons]
    verdicts = {verdict_on(value, value, one) for value, one in zip(values, claim.comparisons)}
    if FAILS in verdicts:
        return FAILS
    if HOLDS in verdicts:  # undecided: what the paper does not print
        return "holds in part" if OPEN in verdicts else HOLDS
    return ""


def judge_claims(measures):
    """A record for each claim: its comparisons by SHAP; ig, the verdict by integrated gradients, ""
    where no measure of the claim depends on the explainer; by_seed, SHAP's verdict of each seed
    alone; paper, the verdict of the paper's own means."""
    seeds, useless, records = seeds_of(measures), learned_nothing(measures), []
    useless_of = {seed: learned_nothing(measures, seed=seed) for seed in seeds}
    for claim in CLAIMS:
        verdict, results = judge(measures, claim.comparisons, useless)
        depends_on_explainer = any("explainer" in measures[METRICS[one.metric].measure]
                                   for one in claim.comparisons)
        ig = (judge(measures, claim.comparisons, useless, explainer="ig")[0]
              if depends_on_explainer else "")
        by_seed = {seed: judge(measures, claim.comparisons, useless_of[seed], seed=seed)[0]
                   for seed in seeds}
        records.append({"claim": claim.number, "section": claim.section, "quote": claim.quote,
                        "remark": claim.remark, "verdict": verdict, "comparisons": results,
                        "paper": verdict_of_the_paper(claim), "ig": ig, "by_seed": by_seed})
    return records


def comparison_text(one, display_name):
    """What a comparison compares, in words."""
    names = [display_name(one[key]) for key in ("of", "minus") if one[key]]
    return f"{one['metric']}, {' − '.join(names)}"


# --- Tables

# {heading: (what a row is, what a column is, metrics, note)}, by columns of the measures. Where no
# column is named, each metric has a column of its own; else each cell has the means of all metrics.
TABLES = {
    "Accuracy and F1": ("model", None, ("accuracy", "weighted F1", "same class as BERT"),
        "Section 4.1, the test split. In brackets: the most frequent class of the test split."),
    "Table 1": ("model", None, (
        "ConfDrop@3", "ConfDrop@3 − random", "ConfDrop@3, replaced by [MASK]", "FlipRate@3",
        "FlipRate@3 − random", "FlipRate@3, replaced by [MASK]", "short-token ratio"),
        "Section 4.2: SHAP’s top 3 tokens deleted, or replaced by [MASK]. In brackets: 3 random "
        "tokens; of the short-token ratio (LIME’s words), all words."),
    "Table 2": ("pair", None, ("Jaccard@10", "Overlap@10"),
        "Section 4.3: SHAP’s top 10. In brackets: random sets. BERT of the next seed has no "
        "interval, because its pairs share models; its seeds stand in tables/estimates.jsonl."),
    "Table 3": ("pair", None, ("cosine", "polarity cosine", "cosine, top 10", "same prediction"),
        "Section 4.4. The cosine is of each model’s own predicted class, so it is low where two "
        "predict differently; the polarity cosine explains Σ (c − 2) p_c in both."),
    "Table 4": ("model", None, (
        "post-but ratio", "ratio, “but” − “and”", "follows second clause", "swaps with clauses",
        "confidence drop without “but”", "less confident without “but”",
        "if right, adjective not in top 3"),
        "Section 4.5. “but” − “and” is of the polarity score; the confidence, of the predicted "
        "polarity (A23). In brackets: the second clause’s share of both clauses’ tokens; of the "
        "last, which is of the right polarities, three random tokens."),
    "Words": ("model", None, (
        "function words", "sentiment words", "if right, no sentiment word in top 3"),
        "Section 5.2: shares of |φ| (A27, A28); the last, of the right labels (A29). In brackets: "
        "shares of the tokens; three random tokens."),
    "Negation": ("model", None, ("not", "never", "n't", "hardly", "out of scope"),
        "Question (4) of the introduction (A22): right predictions. The paper reports none."),
    "Faithfulness by k": ("model", "k", ("ConfDrop@k", "FlipRate@k"),
        "Section 4.2 prints k = 3 alone. ConfDrop@k; FlipRate@k. In brackets: k random tokens."),
    "Faithfulness by explainer": ("model", "explainer", ("ConfDrop@3", "FlipRate@3"),
        "ConfDrop@3; FlipRate@3 for the tokens (LIME: words) that each explainer ranks first. In "
        "brackets: random ones. The intervals stand in tables/estimates.jsonl."),
    "Agreement by explainer": ("pair", "explainer", ("Jaccard@10", "polarity cosine"),
        "Jaccard@10; polarity cosine (LIME: of words). In brackets: random sets."),
    "Explainers": ("model", "explainer", ("Jaccard@3",),
        "Section 3.7 (2): Jaccard@3 of two explainers, on words. In brackets: random sets."),
    "Buckets": ("bucket", "pair", ("Jaccard@10", "polarity cosine"),
        "Section 3.7 (5), who is right: Jaccard@10; polarity cosine. In brackets: random sets. n: "
        "explained sentences of all seeds; below 10 they say little.")}


def escaped(text):
    """A text as Markdown shows it unchanged: in one line, its marks behind a backslash."""
    return re.sub(r"([\\`*_~<>&|$#\[\]])", r"\\\1", " ".join(text.split()).translate(CONTROLS))


def markdown(lines):
    """A table of [{heading: cell}]; a line may lack some."""
    headings = list(dict.fromkeys(heading for line in lines for heading in line))
    rows = [headings, *([str(line.get(heading, "–")) for heading in headings] for line in lines)]
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(headings), *body]) if lines else "Not in this run."


def bracketed(baseline):
    return "" if np.isnan(baseline) else f" ({three_digits(baseline)})"


def cell_text(record, n):
    """Our number, its interval and baseline, n where it is not the row's, the paper's number."""
    sd = bool(METRICS[record["metric"]].paper_sd)  # where the paper prints it
    parts = [estimate_text(record, sd) + bracketed(record["baseline"])]
    if record["n"] != n:
        parts.append(f"n = {record['n']:,}")
    if not np.isnan(record["paper"]):
        paper_sd = f" ± {three_digits(record['paper_sd'])}" if sd else ""
        parts.append(f"paper {three_digits(record['paper'])}{paper_sd}")
    return "<br>".join(parts)


def table(measures, display_name, heading):
    """(records, Markdown) of a table. The n of a row is that of its first cell."""
    row_key, column_key, titles, note = TABLES[heading]
    records, lines, columns = [], {}, [row_key, column_key] if column_key else [row_key]
    rows = measures[METRICS[titles[0]].measure].reindex(columns=columns)
    for keys in rows.dropna().drop_duplicates().to_dict("records"):  # {"model": "bert", "k": 5}
        filters = dict(keys)
        of = filters.pop("pair" if "pair" in keys else "model")
        cells = [{"table": heading, **keys, "metric": title}
                 | estimate(measures, title, of, **filters) for title in titles]
        row_name, n = escaped(display_name(keys[row_key])), cells[0]["n"]
        line = lines.setdefault(row_name, {"": row_name, "n": f"{n:,}"})
        if column_key:
            text = "; ".join(three_digits(cell["mean"]) + bracketed(cell["baseline"])
                             for cell in cells)
            line[escaped(display_name(str(keys[column_key])))] = (
                text if line["n"] == f"{n:,}" else f"n = {n:,}; {text}")
        else:  # the paper's numbers are of these tables alone
            for cell in cells:
                cell["paper"] = paper_value(cell["metric"], of)
                cell["paper_sd"] = paper_value(cell["metric"], of, sd=True)
                line[cell["metric"]] = cell_text(cell, n)
        records += cells
    return records, f"## {heading}\n{note}\n\n{markdown(list(lines.values()))}"


def table5(measures, display_name):
    """Table 5: in how many seeds which polarity is predicted (A23), its mean confidence."""
    paper = {  # {05's name of the condition: what BERT, DistilBERT and KD-TinyBERT predict}
        "Original": ("Pos (0.696)", "Pos (0.630)", "Pos (0.678)"),
        "Without “but”": ("Neutral (0.452)", "Pos (0.471)", "Pos (0.503)"),
        "Flipped clauses": ("Neg (0.540)", "Neg (0.519)", "Neg (0.455)")}
    lines, example = {condition: {"": condition} for condition in paper}, measures["example"]
    for (condition, model), rows in example.groupby(["condition", "model"], sort=False):
        ours = rows.groupby("polarity")["confidence"].agg(["size", "mean"])
        cell = ", ".join(f"{n} {polarity} ({three_digits(mean)})" for polarity, n, mean in
                         ours.itertuples())
        if model in PAPER_MODELS:
            cell += f"<br>paper {paper[condition][PAPER_MODELS.index(model)]}"
        lines[condition][escaped(display_name(model))] = cell
    return ("## Table 5\nSection 4.5: in how many seeds which polarity (A23), its mean confidence."
            f"\n\n{markdown(list(lines.values()))}")


def size_table(measures, display_name):
    """Future Work's "tradeoff between efficiency, accuracy, and reasoning fidelity" as Markdown: a
    line for each model, the largest first. BERT's agreement is that with BERT of the next seed."""
    models = measures["models"].groupby("model", sort=False).agg(
        {"checkpoint": "first", "layers": "first", "parameters": "first",
         "training_seconds": "median", "milliseconds": "median"})
    lines = []
    for row in models.sort_values("parameters", ascending=False, kind="stable").itertuples():
        model, pair = row.Index, "bert/bert_next" if row.Index == "bert" else f"bert/{row.Index}"
        accuracy, cosine, jaccard = (
            estimate_text(estimate(measures, title, of)) for title, of in
            (("accuracy", model), ("polarity cosine", pair), ("Jaccard@10", pair)))
        lines.append({"": escaped(display_name(model)),
                      "checkpoint": escaped(Path(row.checkpoint).name), "layers": row.layers,
                      "parameters": f"{row.parameters / 1e6:.1f} M",
                      "training": f"{row.training_seconds:,.0f} s",
                      "ms": f"{row.milliseconds:.1f}", "accuracy": accuracy,
                      "polarity cosine with BERT": cosine, "Jaccard@10 with BERT": jaccard})
    return ("## Size\nFuture Work (Section 6), “more aggressively compressed student models”. "
            "Training, and ms for a sentence in a forward pass of batches: the median seed, on "
            "this run’s machine. BERT’s own row: agreement with BERT of the next seed. Small "
            "rates, and trainings some of which collapse, have no exact 95% interval."
            f"\n\n{markdown(lines)}")


# --- Figures: functions of (measures, artifacts, display_name, ...), which give (figure, caption)
# display_name(key) is the name in print of a model, a pair, an explainer or a bucket: see main().

COLOURS = {"bert": "#0072B2", "distilbert": "#E69F00", "kd_tinybert": "#009E73",
           "kd_aligned": "#D55E00", "tinybert_ce": "#CC79A7"}  # Okabe, Ito: for all eyes
MARKS = {HOLDS: ("ko", "#0072B2"), FAILS: ("ks", "#D55E00"), OPEN: ("ko", "white"),
         UNTESTED: ("k", "white")}  # matplotlib's format, the fill; none for what is not tested
LAYOUT = {"font.size": 8, "savefig.dpi": 200, "text.parse_math": False, "legend.frameon": False,
          "axes.spines.top": False, "axes.spines.right": False,
          "figure.constrained_layout.use": True}


def draw_claims(measures, artifacts, display_name, claims):
    """The claims, a row each, by the first comparison that has the claim's verdict. Its numbers are
    divided by 1.1 times the largest of them, so they lie between -1 and 1."""
    quote_at, verdict_at, right_edge = -2.85, 1.05, 1.8  # to the left and the right of them
    fig, ax = plt.subplots(figsize=(8.2, 0.46 * len(claims) + 0.3))
    for y, claim in enumerate(claims):
        one = next(one for one in claim["comparisons"] if one["verdict"] == claim["verdict"])
        paper = paper_value(one["metric"], one["of"], one["minus"])
        numbers = [paper, *one["seeds"].values(),
                   *(one[key] for key in ("mean", "low", "high", "above", "below", "baseline"))]
        scale = 1.1 * np.nanmax([*np.abs(np.array(numbers, dtype=float)), 1e-9])
        left = -1 if one["above"] is None else one["above"] / scale
        right = 1 if one["below"] is None else one["below"] / scale
        mark, colour = MARKS[claim["verdict"]]
        ax.barh(y, right - left, 0.78, left, color="#E3ECE3")  # where the claim holds
        ax.plot([one["low"] / scale, one["high"] / scale], [y, y], "k-")
        ax.plot([mean / scale for mean in one["seeds"].values()],
                [y + 0.27] * len(one["seeds"]), "k.", markersize=3)
        ax.plot([one["baseline"] / scale] * 2, [y - 0.39, y + 0.39], "k:")
        ax.plot(paper / scale, y, "kD", markerfacecolor="white", markersize=5)
        ax.plot(one["mean"] / scale, y, mark, markerfacecolor=colour)
        quote = textwrap.shorten(f"{claim['claim']}. {claim['quote']}", 66, placeholder=" …")
        what = textwrap.fill(comparison_text(one, display_name), 66, break_on_hyphens=False)
        ax.text(quote_at, y, f"{quote}\n{what}", va="center", size=6.5)
        ax.text(verdict_at, y, f"{claim['verdict']}\n{estimate_text(one)}", va="center", size=6.5,
                color="black" if colour == "white" else colour)
    ax.axvline(0, color="black", zorder=1.5)  # above the shading, below the marks
    ax.set(xlim=(quote_at, right_edge), ylim=(len(claims) - 0.5, -0.6))
    ax.axis("off")
    return fig, ("The paper’s claims, each on a scale of its own; the line is zero. Shaded: where "
                 "a claim holds. Bar: 95% interval; its mark is round where it holds, square where "
                 "it does not, hollow where undecided. Dots: seeds. Diamond: the paper. "
                 "Dotted: the baseline.")


def figure1(measures, artifacts, display_name):
    """3.1: the label distribution of the whole data set."""
    counts = measures["labels"].pivot(index="label", columns="split", values="sentences")
    counts, total = counts[list(SPLITS)].set_axis(list(LABELS)), counts.sum(axis=1)
    fig, ax = plt.subplots(figsize=(5.6, 2.8))
    counts.plot.bar(stacked=True, ax=ax, width=0.72, rot=0, xlabel="", ylabel="sentences",
                    color=["#4C78A8", "#9ECAE1", "#F2F2F2"], edgecolor="black", linewidth=0.5)
    for i, n in enumerate(total):
        ax.text(i, n, f"{n:,}\n{n / total.sum():.1%}", ha="center", va="bottom")
    ax.margins(y=0.2)
    ax.legend([f"{split} ({n:,})" for split, n in counts.sum().items()], ncols=3,
              loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return fig, f"Label distribution of the data set, n = {total.sum():,} sentences, all splits."


def dot_plots(measures, artifacts, display_name, caption, titles, prefix=""):
    """Figures 4 to 7, and Agreement: two metrics side by side, a row for each model or pair whose
    name begins with prefix, such as "bert/"."""
    rows = measures[METRICS[titles[0]].measure]
    shown = [of for of in rows["pair" if "pair" in rows else "model"].unique()
             if of.startswith(prefix)]
    fig, axes = plt.subplots(1, 2, figsize=(7, 1 + 0.36 * len(shown)), sharey=True)
    for ax, title in zip(axes, titles):
        for y, of in enumerate(shown):
            e = estimate(measures, title, of)
            ax.plot([e["low"], e["high"]], [y, y], "k|-", linewidth=1, label="ours, 95% interval")
            ax.plot(e["mean"], y, "ko", markersize=7,
                    markerfacecolor=COLOURS.get(of.rpartition("/")[2], "white"))
            ax.plot(e["seeds"].values(), [y + 0.3] * len(e["seeds"]), "k.", markersize=4,
                    label="each seed")
            ax.plot(paper_value(title, of), y - 0.05, "wD", markeredgecolor="black", markersize=5,
                    label="paper")
            if METRICS[title].baseline:
                ax.plot([e["baseline"]] * 2, [y - 0.4, y + 0.4], "k:", label="baseline")
            if of == "bert/bert_next":
                ax.axvline(e["mean"], color="black", linestyle="--", linewidth=0.8, zorder=0,
                           label=display_name(of))
        ax.set_yticks(range(len(shown)), [display_name(of) for of in shown])
        ax.set(title=title, ylim=(len(shown) - 0.5, -0.5))
        ax.grid(axis="x", color="#EEEEEE")
    legend = {name: line for ax in axes for line, name in zip(*ax.get_legend_handles_labels())}
    fig.legend(legend.values(), legend, loc="outside lower center", ncols=5)
    return fig, caption


def figure8(measures, artifacts, display_name):
    """4.4: orientations of SHAP vectors: the angle, not the paper's projection, whose dimension i
    is the token at position i, which is another token in every sentence (A18)."""
    fig, ax = plt.subplots(figsize=(4, 3.6))
    for pair in ("bert/distilbert", "bert/kd_tinybert", "bert/kd_aligned", "bert/bert_next"):
        cosines = values_of(measures, "polarity cosine", pair).dropna()
        if len(cosines):
            angles = np.degrees(np.arccos(cosines.clip(-1, 1)))
            ax.hist(angles, range(0, 181, 10), weights=np.full(len(angles), 100 / len(angles)),
                    histtype="step", color=COLOURS.get(pair.rpartition("/")[2], "black"),
                    label=f"{display_name(pair)}: median {angles.median():.0f}°", linewidth=1.5)
    ax.set(ylabel="% of sentences", xticks=range(0, 181, 45), xlabel="degrees; 90: unrelated")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=7.5)
    return fig, ("The angle between SHAP vectors of the polarity score, all seeds; in the paper a "
                 "projection of the vectors to two dimensions.")


def figure9(measures, artifacts, display_name):
    """4.5: signed token attributions of Table 5's sentence."""
    seed = seeds_of(measures)[0]
    fig, axes = plt.subplots(1, 3, figsize=(7, 3.2), sharex=True, sharey=True)
    for ax, model in zip(axes, PAPER_MODELS):
        path = artifacts / f"probes/{model}_{seed}.shap.jsonl"
        rows = {row["id"]: row for row in read_jsonl(path, "05_probes.py writes it")}
        row = rows["weak-joyful"]  # the id that 05 gives Table 5's sentence
        phi = predicted_attributions(row)
        ax.barh(range(len(phi)), phi, color=np.where(phi >= 0, "#0072B2", "#D55E00"),
                edgecolor="black", linewidth=0.5)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set_yticks(range(len(phi)), row["tokens"])
        ax.set_title(f"{display_name(model)}\nclass: {LABELS[row['predicted']]}", fontsize=8.5)
    axes[0].invert_yaxis()
    fig.supxlabel("SHAP value: below 0 it opposes that class, above 0 it supports it", fontsize=9)
    return fig, (f"Signed SHAP attributions of “{row['text']}” for the class that each model "
                 f"predicts, n = 1 sentence, seed {seed}.")


# --- The page: the paper's Figure 9 for every sentence, without a script

STYLE = """:root{color-scheme:light dark;font:16px/1.65 system-ui,sans-serif}
body{max-width:76rem;margin:0 auto;padding:0 1rem}h3,h4,p{margin:.3rem 0;overflow-wrap:anywhere}
article{border-top:1px solid #8888;padding:.7rem 0 1rem}i{font-style:normal}
.models{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,15rem),1fr));gap:1rem}
small,b,sub{font-size:.7em;font-weight:normal}.p{background:rgba(0,114,178,var(--a))}
.n{background:rgba(213,94,0,var(--a));text-decoration:underline dotted}"""


def marked(row):
    """The sentence of an explained row, in HTML. A token, or LIME's word, is coloured by its share
    of the largest attribution to the predicted class; from half of that on, its value follows."""
    if "tokens" in row:
        pieces = [(*span, value) for span, value in zip(row["spans"], predicted_attributions(row))]
    else:  # LIME's words, each with the spans of all its occurrences
        pieces = [(*span, value) for spans, value in zip(row["spans"], row["attributions"])
                  for span in spans]
    largest = max((abs(value) for _, _, value in pieces), default=0) or 1
    shown_to, html, text = 0, "", row["text"].translate(CONTROLS)
    for start, end, value in sorted(pieces):
        share, signed = abs(value) / largest, f"{value:+.2f}".replace("-", "−")
        sign, note = "n" if value < 0 else "p", f"<sub>{signed}</sub>" if share >= 0.5 else ""
        look = f'class="{sign}" style="--a:{0.6 * share:.2f}"' if share > 0.1 else ""
        html += (f"{escape(text[shown_to:start])}<i title=\"{signed}\" {look}>"
                 f"{escape(text[max(start, shown_to):end])}{note}</i>")
        shown_to = end
    return html + escape(text[shown_to:])


def page_html(measures, artifacts, display_name):
    """The sentences of the first seed, those first where KD-TinyBERT drifts furthest from BERT."""
    seed, subset = seeds_of(measures)[0], load_subset(artifacts)
    found = {row["id"]: {} for row in subset}  # {sentence: {model: {method: explained row}}}
    for model, method in product(measures["models"]["model"].unique(), ("shap", "ig", "lime")):
        for row in load_explanations(artifacts, model, seed, method, subset):
            found[row["id"]].setdefault(model, {})[method] = row
    drift = values_of(measures, "polarity cosine", "bert/kd_tinybert", seed=seed)
    gold = {row["id"]: LABELS[row["label"]] for row in subset}
    articles = ""
    for (_, key), cosine in drift.sort_values().items():
        name, value = escape(key), "undefined" if np.isnan(cosine) else f"{cosine:.2f}"
        articles += (f'<article id="{name}"><h3>{name}, gold {gold[key]}: polarity cosine {value}'
                     "</h3><div class=models>")
        for model, by_method in found[key].items():
            row = by_method["shap"]
            right = "right" if row["predicted"] == row["label"] else "wrong"
            p = " ".join(f"{p:.2f}" for p in row["probabilities"])
            articles += (f"<div><h4>{escape(display_name(model))}: {LABELS[row['predicted']]}, "
                         f"{right}</h4><small>{p}</small>")
            for method, row in by_method.items():
                articles += f"<p><b>{EXPLAINERS[method]}</b> {marked(row)}</p>"
            articles += "</div>"
        articles += "</div></article>\n"
    return f"""<!doctype html><html lang=en><head><meta charset=utf-8><style>{STYLE}</style>
<meta name=viewport content="width=device-width,initial-scale=1"><title>Explanations</title></head>
<body><h1>Token attributions by model</h1>
<p>First the sentences of most drift from {escape(display_name("bert"))} to
{escape(display_name("kd_tinybert"))}. Drift is a low polarity cosine: how alike two models’ SHAP
attributions of the polarity score are, at most 1; it needs no choice of a class. The colours do:
blue tokens support the class that the model predicts, orange underlined tokens oppose it, so where
two models predict differently, one word may have two colours. The opacity is relative to the
largest attribution. From half of that on, the value follows the token; the others show on hover.
Below a prediction: the probabilities of {", ".join(LABELS)}. Models of seed {seed}.</p>
{articles}</body></html>
"""


# --- The report

RULE = """\
A *comparison* holds where its 95% interval lies inside the stated range, does not hold where it
lies outside, else is undecided. A range without a remark is the order that the paper states, one
number above the other. A *claim* does not hold if one of its comparisons does not; else it is not
tested if one has no numbers, undecided if one is undecided, and holds if all hold. Whatever its
numbers, it is not tested if one of its models is not shown to have learned anything: the interval
of accuracy − most frequent class does not lie above 0. Where a number depends on the explainer, the
verdict is SHAP’s. *Paper*: whether the paper’s own means lie inside the ranges; “in part”: it
prints only some of them; blank: none.

**Intervals** count seeds and sentences (or seeds, positive and negative adjectives) as random
draws, and are cut at the values that are possible; n is the number of their combinations. †: all
values are equal; the interval is ± 3.7 / the number of values of one seed. In a run of one seed the
intervals cover sentences alone, and a verdict is of this one training. In a run of several seeds, a
number that exists for one seed only has no interval, and its claim is undecided: in run_all.sh this
is claim 6, for LIME explains the first seed alone.

**Errors.** With two or more seeds, if the intervals have their 95% coverage, a claim is wrongly
found to hold in at most 2.5% of runs, and wrongly found not to hold in up to 2.5% for each bound
that its comparisons have: 10% for the four of claim 2. With one seed both are more frequent where
trainings differ. Small rates, and trainings some of which collapse, have no exact 95% interval.
Claims 8 and 19 subtract two agreements of a BERT: with its student KD-TinyBERT, and with BERT of
the next seed. Each BERT is in several such pairs, so these intervals are approximate. They are too
narrow if a BERT that agrees more with other BERTs does not agree as much more with its own student;
they are too wide if it agrees even more with its student.

**Seen before.** The claims and ranges were last changed on 2026-12-01, after runs of the seeds 42
to 47, 50 to 52, 61 to 65 and 70 to 72 had been seen. Since then claim 1 asks whether KD-TinyBERT,
where it is right on an “A but B” sentence, has the second adjective not among its top three tokens
in more than one sentence of ten, and more often than BERT; claim 18, whether BERT and DistilBERT
miss it less often than three random tokens do, and KD-TinyBERT more often. All others are unchanged
since commit 7d3b501 of 2026-11-28, when 42 to 47 and 50 to 52 had been seen. The 150 sentences, the
adjectives and the sentiment words are the same in every run of one text: new seeds are new
trainings, not new sentences. SUBSET_SEED=43 in front of run_all.sh draws other sentences."""


def claims_md(claims, display_name, beside):
    """The claims as a Markdown table, with the verdicts of --beside."""
    lines, seeds = [], claims[0]["by_seed"]
    verdict_heading = "SHAP" if len(seeds) > 1 else "SHAP, of this one training"
    for claim in claims:
        ours, of_seeds = [], []
        for one in claim["comparisons"]:
            must = [f"{sign} {one[key]:g}" for sign, key in ((">", "above"), ("<", "below"))
                    if one[key] is not None]
            ours.append(f"{escaped(comparison_text(one, display_name))}: {estimate_text(one)} "
                        f"({', '.join(must)})")
            of_seeds.append(" ".join(three_digits(one["seeds"].get(seed, np.nan))
                                     for seed in seeds))
        ours += [f"*{claim['remark']}*"] if claim["remark"] else []
        lines.append({"": claim["claim"], "§": claim["section"], "the paper says": claim["quote"],
                      "ours (range), *remark*": "<br>".join(ours),
                      f"seeds {' '.join(map(str, seeds))}": "<br>".join(of_seeds),
                      verdict_heading: claim["verdict"], "IG": claim["ig"],
                      "*Paper*": claim["paper"]}
                     | {escaped(folder): verdicts.get(asked(claim), "another version")
                        for folder, (_, verdicts) in beside.items()})
    return markdown(lines)


def asked(claim):
    """What a claim's record asks: only where this is the same, two verdicts are on one claim."""
    return claim["quote"], tuple(Comparison(*map(one.get, Comparison._fields))
                                 for one in claim["comparisons"])


def verdicts_beside(folders):
    """{folder: (its seeds, {what a claim asks: the verdict})} of the reports in other folders."""
    beside = {}
    for folder in folders:
        rows = read_jsonl(Path(folder) / "tables/claims.jsonl", "06_figures.py writes it")
        beside[folder] = list(rows[0]["by_seed"]), {asked(row): row["verdict"] for row in rows}
    return beside


def beside_md(claims, beside):
    """A sentence for each folder of --beside. What one training decides is not counted."""
    lines = []
    for folder, (seeds, verdicts) in beside.items():
        several = len(seeds) > 1 and len(claims[0]["by_seed"]) > 1
        both = [claim for claim in claims if several
                and {claim["verdict"], verdicts.get(asked(claim))} <= DECIDED]
        turned = [claim for claim in both if claim["verdict"] != verdicts[asked(claim)]]
        other = [claim for claim in claims if asked(claim) not in verdicts]
        lines.append(f"{escaped(folder)}, seeds {', '.join(seeds)}: decided by both runs, of two "
                     f"or more seeds each: {len(both)} claims, {len(both) - len(turned)} of them "
                     f"alike; turned round: {numbers_of(turned)}; of another version, and not "
                     f"compared: {numbers_of(other)}.")
    return lines


def numbers_of(claims):
    return ", ".join(str(claim["claim"]) for claim in claims) or "none"


def summary_md(measures, display_name, claims, beside):
    """The first lines of the report: at most six, and one for each folder of --beside."""
    first, *others = seeds = seeds_of(measures)
    covers = "The intervals cover trainings and sentences." if others else (
        "**One training: every verdict is of the models of this seed, and another seed may give "
        "another one. The intervals cover sentences alone. To add trainings to this folder, put "
        f'`SEEDS="{first} {first + 1} {first + 2}"` in front of the command that you used.**')
    useless = ", ".join(escaped(display_name(model)) for model in learned_nothing(measures))
    if useless:
        covers += (" **Not shown to have learned anything, that is, to be more accurate than the "
                   f"most frequent class: {useless}. No claim on such a model is tested.**")
    lines = [f"Seeds: {', '.join(map(str, seeds))}. {covers} "
             "[explanations.html](explanations.html) shows the sentences, most drift first."]
    question, = (claim for claim in claims if claim["claim"] == QUESTION)
    claims = [claim for claim in claims if claim is not question]
    lines.append("KD-aligned is ours: it is distilled like KD-TinyBERT, but learns from perturbed "
                 "copies of each sentence and from the teacher’s hidden states too. Whether it "
                 "agrees more with BERT than KD-TinyBERT does, the paper’s question for future "
                 f"work ({QUESTION}): {question['verdict']}.")
    counts = []
    for verdict in (HOLDS, FAILS, OPEN, UNTESTED):
        found = [claim for claim in claims if claim["verdict"] == verdict]
        names = numbers_of(found)
        if found and verdict in DECIDED:
            names = "; ".join(
                f"{claim['claim']}, “{textwrap.shorten(claim['quote'], 50, placeholder=' …')}”"
                for claim in found)
        counts.append(f"{verdict.capitalize()}: {len(found)} ({names}).")
    lines.append(f"The paper’s {len(claims)} [claims](#claims). {' '.join(counts)}")
    alone = []
    for seed in seeds:
        found = [one for one in claims if one["by_seed"][seed] in DECIDED - {one["verdict"]}]
        alone.append(f"{seed}: {numbers_of(found)}")
    if others:
        lines.append(f"Claims that one seed alone decides otherwise: {'; '.join(alone)}.")
    lines += beside_md(claims, beside)
    if any(display_name(model).endswith("*") for model in measures["models"]["model"]):
        lines.append("\\* A model of another type or size than Section 3.2 gives, see "
                     "[Size](#size): a verdict is then on the paper’s pattern, not on its models.")
    if gold_control(measures) == "bert/distilbert":
        lines.append("DistilBERT starts as KD-TinyBERT does and learns from gold labels, so it is "
                     "the gold-label control too: claims 10 and 17 are one comparison.")
    return "\n".join(f"- {line}" for line in lines)


def completeness_md(measures):
    """How exactly IG (A33) sums up, over all models and sentences: no mean, for where p hardly
    changes the gap is many times the change."""
    if measures["completeness"].empty:
        return ""
    gaps = measures["completeness"]["relative_gap"]
    return (f"IG’s attributions miss the change of p by {gaps.median():.2%} in the median "
            f"sentence, by {gaps.quantile(0.95):.1%} or less in 95% of them.")


def made_with(artifacts):
    """The last line: what the run began on, and the commit of this report."""
    path, commit = artifacts / "settings/environment.json", kit_commit()
    if not path.is_file():
        return f"What this run began on is unknown, {path.name} is missing; this report: {commit}."
    began = read_json(path)
    versions = ", ".join(f"{name} {version}" for name, version in began["versions"].items())
    return (f"Begun at commit {began['commit']}, this report {commit}; {began['device']}, "
            f"{began['machine']}, {began['threads']} threads; {versions}.")


def examples_md(subset):
    """Figure 2 as Markdown: examples of the balanced subset, the first of each class."""
    rows = pd.DataFrame(subset).drop_duplicates("label").sort_values("label")
    lines = [{"gold": f"{row.label} {LABELS[row.label]}",
              "text": escaped(textwrap.shorten(row.text, 100, placeholder=" …"))}
             for row in rows.itertuples()]
    return f"Figure 2. The first sentence of each class, of {len(subset)}.\n\n{markdown(lines)}"


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


def cases_md(measures, artifacts):
    """The cases of the first seed as Markdown, with links to the page."""
    seed, subset = seeds_of(measures)[0], load_subset(artifacts)
    bert, kd = (load_explanations(artifacts, model, seed, "shap", subset)
                for model in ("bert", "kd_tinybert"))
    cosines = values_of(measures, "polarity cosine", "bert/kd_tinybert", seed=seed)[seed]
    text = {row["id"]: textwrap.shorten(row["text"], 90, placeholder=" …") for row in subset}
    lines = [f"- {rule}, {value:.3f}: “{escaped(text[key])}” [{escaped(key)}]"
             f"(explanations.html#{key})"
             for rule, (key, value) in pick_cases(bert, kd, cosines).items()]
    return "\n".join([f"## Cases\nSection 3.7 (6), seed {seed}, by rule (A26).", *lines])


def parse_args(argv=None):
    parser = cli(__doc__)
    parser.add_argument("--beside", nargs="+", default=[], metavar="DIR", help="artifacts of other "
                        "runs (other seeds, text or models), whose verdicts stand beside these")
    return parser.parse_args(argv)


def main(args):
    artifacts = Path(args.artifacts)
    measures = load_measures(artifacts)
    names, claims = display_names(measures["models"]), judge_claims(measures)
    beside = verdicts_beside(args.beside)

    def display_name(key):  # of a model, a pair, an explainer or two, or a bucket
        return names.get(key) or "–".join(names.get(part, part) for part in key.split("/"))

    def figure(name, draw, *arguments):
        file = name.lower().replace(" ", "")
        with plt.style.context(["default", LAYOUT]):  # not what a matplotlibrc asks for
            fig, caption = draw(measures, artifacts, display_name, *arguments)
            fig.savefig(artifacts / f"figures/{file}.png")
            plt.close(fig)
        return f"![{name}](figures/{file}.png)<br>*{name}. {escaped(caption)}*"

    (artifacts / "figures").mkdir(exist_ok=True)
    estimates, text = [], {}
    for heading in TABLES:
        records, text[heading] = table(measures, display_name, heading)
        estimates += records
    write_jsonl(artifacts / "tables/estimates.jsonl", estimates)
    write_jsonl(artifacts / "tables/claims.jsonl", claims)
    report = "\n\n".join([
        "# Faithfulness and reasoning drift: this run against the paper",
        summary_md(measures, display_name, claims, beside),
        figure("Agreement", dot_plots, "With BERT, by SHAP. Dashed: without compression.",
               ("polarity cosine", "Jaccard@10"), "bert/"),
        figure("Claims", draw_claims, claims),
        f"## Claims\n{RULE}", claims_md(claims, display_name, beside),
        f"## The data\n{figure('Figure 1', figure1)}", examples_md(load_subset(artifacts)),
        text["Accuracy and F1"],
        figure("Figure 4", dot_plots, "The test split.", ("accuracy", "weighted F1")),
        text["Table 1"], text["Faithfulness by k"],
        figure("Figure 5", dot_plots, "The top 3 SHAP tokens removed; baseline: 3 random.",
               ("ConfDrop@3", "FlipRate@3")),
        text["Table 2"],
        figure("Figure 6", dot_plots, "The top 10 SHAP tokens; baseline: random sets.",
               ("Jaccard@10", "Overlap@10")),
        text["Table 3"],
        figure("Figure 7", dot_plots, "Mean cosine of SHAP attributions; a heatmap in the paper.",
               ("cosine", "polarity cosine")),
        figure("Figure 8", figure8), text["Table 4"], table5(measures, display_name),
        figure("Figure 9", figure9), text["Words"], text["Negation"],
        text["Faithfulness by explainer"], text["Agreement by explainer"],
        text["Explainers"], completeness_md(measures), text["Buckets"],
        size_table(measures, display_name),
        cases_md(measures, artifacts), made_with(artifacts)])
    write_text(artifacts / "report.md", f"{report}\n")
    write_text(artifacts / "explanations.html", page_html(measures, artifacts, display_name))
    print(f"wrote {artifacts / 'report.md'} and explanations.html")


if __name__ == "__main__":
    run(main, parse_args())
