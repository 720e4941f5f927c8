"""Sections 4 and 5: the paper's tables and figures beside ours, and its claims judged.

Reads   measures/ with the stamps of 04 and 05, subset.jsonl, explanations/, probes/, runs.jsonl
Writes  report.md, explanations.html, figures/figure0.png to figure9.png, tables/*.json

    python 06_figures.py --artifacts artifacts

Files only, never a model: seconds, anywhere. Every mean, difference and interval comes from one
function, interval(). The paper's numbers stand in PAPER, its claims, and the ranges in which they
hold, in CLAIMS.
"""
import textwrap
from collections.abc import Callable
from functools import partial
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
                    load_explanations, load_subset, predicted_attributions, read_json, read_jsonl,
                    run, stop, weights_digest, write_json, write_text)

B, D, K = PAPER_MODELS  # BERT, DistilBERT, KD-TinyBERT
BD, BK, DK = PAIRS
RETRAINED = (B, "bert_retrained")  # the ceiling: BERT against BERT of another training seed
TWIN = (B, "gold_twin")  # BERT against what differs from KD-TinyBERT in its objective alone
PAPER = {  # as printed; (mean, SD) where it has both
    "accuracy": {B: 0.538, D: 0.517, K: 0.541}, "weighted F1": {B: 0.532, D: 0.487, K: 0.530},
    "ConfDrop@3": {B: (0.096, 0.100), D: (0.149, 0.107), K: (0.042, 0.110)},  # Table 1
    "FlipRate@3": {B: 0.447, D: 0.393, K: 0.000},
    "short-token ratio": {B: 0.335, D: 0.352, K: 0.330},
    "Jaccard@10": {BD: 0.468, BK: 0.453, DK: 0.449},  # Table 2
    "Overlap@10": {BD: 0.625, BK: 0.608, DK: 0.602},
    "cosine": {BD: (0.720, 0.351), BK: (0.592, 0.430), DK: (0.566, 0.429)},  # Table 3
    "SD of the cosine": {BD: 0.351, BK: 0.430, DK: 0.429},
    "post-but ratio": {B: (0.641, 0.090), D: (0.614, 0.066), K: (0.650, 0.112)},  # Table 4
    "Table 5": {"Original": {B: "Pos (0.696)", D: "Pos (0.630)", K: "Pos (0.678)"},
                "Without “but”": {B: "Neutral (0.452)", D: "Pos (0.471)", K: "Pos (0.503)"},
                "Flipped clauses": {B: "Neg (0.540)", D: "Neg (0.519)", K: "Neg (0.455)"}}}


# --------------------------------------------------------------------------------------------------
# One statistic

def interval(x):
    """(mean, low, high) of the 95% interval. Each axis of x is a random draw: (seeds, sentences),
    (seeds,) or (seeds, positive words, negative words). NaN is left out.

    v, the variance of the mean, is the sum over axes of var(means along the axis) / their number;
    the interval is mean +- t sqrt(v), with Satterthwaite's degrees of freedom. Where all values are
    equal, t sqrt(v) is replaced by 3 / n, the rule of three, n the length of the longest axis. An
    axis of length 1 is no draw: where all are, low and high are NaN. Of no values all three are.
    """
    x = np.asarray(x, dtype=float)
    if not x.size:
        return np.nan, np.nan, np.nan
    variances, freedom = [], []
    for axis in range(x.ndim):
        slices = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
        means = pd.DataFrame(slices).mean(axis=1).dropna()  # of each seed, or of each sentence
        if len(means) > 1:
            variances.append(means.var(ddof=1) / len(means))
            freedom.append(len(means) - 1)
    v, half = np.array(variances), np.nan
    if variances and v.sum() < 1e-24:  # all values are equal, but for rounding
        half = 3 / max(x.shape)
    elif variances:
        half = stats.t.ppf(0.975, v.sum()**2 / (v**2 / freedom).sum()) * np.sqrt(v.sum())
    mean = pd.Series(x.ravel()).mean()
    return mean, mean - half, mean + half


def estimate(frame, column, axes=("seed", "id")):
    """{"mean", "sd", "low", "high", "n", "seeds": {42: mean}} of a column of tidy rows. Rows that
    are alike in all axes, such as both orders of two adjectives, are averaged first. sd: that of
    the rows of a seed, as the paper's ±, a mean over seeds."""
    frame = frame.astype({column: float}).dropna(subset=[column])
    cells = frame.groupby(list(axes), as_index=False)[column].mean()
    x = np.full([cells[axis].nunique() for axis in axes], np.nan)
    x[tuple(pd.factorize(cells[axis])[0] for axis in axes)] = cells[column]
    mean, low, high = interval(x)
    return {"mean": mean, "low": low, "high": high, "n": len(cells),
            "sd": frame.groupby("seed")[column].std().mean(),
            "seeds": cells.groupby("seed")[column].mean().to_dict()}


def difference(first, second, column, axes=("seed", "id")):
    """estimate() of first - second, matched on the axes, and on the order of two adjectives."""
    keys = [key for key in (*axes, "polarity") if key in first]
    both = first.merge(second, on=keys, suffixes=("", "_second"))
    both[column] = both[column].astype(float) - both[f"{column}_second"].astype(float)
    return estimate(both, column, axes)


# --------------------------------------------------------------------------------------------------
# The measures, and what the models are called

MADE_BY = {"04_evaluate": ("labels", "models", "predictions", "faithfulness", "short_tokens",
                           "agreement", "direction", "explainers", "buckets",
                           "completeness"),
           "05_probes": ("contrast", "example", "negation", "words", "cases")}
EXPLAINER_NAMES = {"shap": "SHAP", "lime": "LIME", "ig": "IG", "shap_mask": "SHAP with [MASK]",
           "lime_seed": "LIME of another seed"}


def load_measures(artifacts):
    """({name: DataFrame} of measures/, the stamp of 04). Booleans become 0.0 and 1.0.

    Stops unless 04 and 05 measured the sentences and weights that are there. Seeds without all
    three models are left out: a further BERT counts in "bert_retrained" alone.
    """
    folder, stamps = Path(artifacts) / "measures", {}
    for stage in MADE_BY:
        path = folder / f"{stage}.stamp.json"
        if not path.is_file():
            stop(f"{path} is missing; {stage}.py writes it")
        stamps[stage] = read_json(path)
    measured = stamps["04_evaluate"]["inputs"]["weights"]  # {"bert_42": digest, ...}
    now = {"subset": digest(load_subset(artifacts)),
           "weights": {model: weights_digest(artifacts, model) for model in measured}}
    for stage, stamp in stamps.items():
        if any(stamp["inputs"][key] != now[key] for key in now):
            stop(f"{stage}.py measured other models or sentences than {artifacts} holds; run it")
    trained, measures = {}, {}  # {seed: families}
    for model in measured:
        family, _, seed = model.rpartition("_")
        trained.setdefault(int(seed), set()).add(family)
    seeds = [seed for seed, families in trained.items() if set(PAPER_MODELS) <= families]
    if not seeds:
        stop(f"the report needs {', '.join(PAPER_MODELS)} of one seed; there are "
             f"{', '.join(measured)}")
    for name in (name for names in MADE_BY.values() for name in names):
        paths = [folder / f"{name}.jsonl"]  # and of what asks a model, a file for each
        paths += [folder / f"{name}.{model}.jsonl" for model in measured]
        frame = pd.DataFrame([row for path in paths if path.is_file() for row in read_jsonl(path)])
        flags = [c for c in frame if frame[c].dropna().map(type).eq(bool).all()]
        frame = frame.astype(dict.fromkeys(flags, float))
        measures[name] = frame[frame["seed"].isin(seeds)] if "seed" in frame else frame
    return measures, stamps["04_evaluate"]


def prepare(measures):
    """The rows that the report reads, k = 3 or 10 and "but" sentences. Adds BERT's prediction, the
    ratio of the sentence with "and", and the bucket as columns."""
    m, key = dict(measures), ["seed", "id"]
    bert = m["predictions"].query("model == @B")[[*key, "predicted"]]
    m["predictions"] = m["predictions"].merge(bert, "left", key, suffixes=("", "_bert"))
    for name, k in (("faithfulness", 3), ("explainers", 3), ("agreement", 10)):
        m[name] = m[name][m[name]["k"] == k]
    under = ["seed", "model", "positive", "negative", "polarity"]
    other = m["contrast"].query("connective == 'and'")[[*under, "polarity_post_but_ratio"]]
    but = m["contrast"].query("connective == 'but'")
    m["contrast"] = but.merge(other, "left", under, suffixes=("", "_and"))
    for name in ("contrast", "words"):  # "right for the wrong reasons" is of the right labels (A29)
        misses = [column for column in m[name] if "misses" in column]
        m[name].loc[m[name]["right_label"] == 0, misses] = np.nan
    for name in ("agreement", "direction") if len(m["buckets"]) else ():
        m[name] = m[name].merge(m["buckets"][[*key, "bucket"]], "left", key)
    return m


def names_of(measures):
    """{family or explainer: label}: the paper's name for a model of the size that 3.2 gives, else
    the stand-in's."""
    names = EXPLAINER_NAMES | {RETRAINED[1]: "another seed", TWIN[1]: "the same start, gold labels"}
    models = measures["models"].drop_duplicates("model").set_index("model", drop=False)
    for row in models.itertuples():
        layers, low, high = (12, 109e6, 110e6) if row.model == B else (6, 66e6, 68e6)
        name = MODELS.get(row.model, row.model)
        if row.layers != layers or not low <= row.parameters <= high:  # a stand-in
            name = f"{name} ({Path(row.checkpoint).name})"
            if row.keep_layers:
                half = 2 * row.layers == models["layers"].get(B)
                depth = "half depth" if half else f"{row.layers} layers"
                taught = "distilled" if isinstance(row.teacher, str) else "gold labels"
                name = f"{depth}, {taught}"
        names[row.model] = name
    return names


def short(names, who):
    """The label of a model, or of a pair: BERT / DistilBERT."""
    return names[who] if isinstance(who, str) else " / ".join(names.get(part, part) for part in who)


def gold_twin(measures):
    """BERT's pair with the family that differs from KD-TinyBERT in its objective alone."""
    made = {row.model: (row.checkpoint, row.keep_layers) for row in measures["models"].itertuples()}
    if "tinybert_ce" in made:
        return (B, "tinybert_ce")
    return BD if made.get(D) == made.get(K) else TWIN  # no row has it: the claim is not tested


# --------------------------------------------------------------------------------------------------
# Quantities: the columns of the tables, and what the claims are about

def calibration_error(rows):
    """ECE: the sum over ten bins of confidence of |sum of right - sum of confidence| / n."""
    bins = np.minimum(rows["confidence"] * 10 // 1, 9)
    right = rows["predicted"] == rows["label"]
    return (right - rows["confidence"]).groupby(bins).sum().abs().sum() / len(rows)


def weighted_f1(rows):
    return f1_score(rows["label"], rows["predicted"], average="weighted")


def over_chance(rows):
    """(J - chance) / (1 - chance) of the means."""
    chance = rows["chance_jaccard"].mean()
    return (rows["jaccard"].mean() - chance) / (1 - chance)


class Quantity(NamedTuple):
    """What is averaged. Of a row: value is an expression for pandas.eval. Of a seed: value is a
    function of its rows, and the seeds are the only random draw."""
    measure: str  # the file in measures/
    value: str | Callable
    baseline: str = ""  # its title
    baseline_value: str = ""
    where: dict = {}  # {column: value} of the rows that count


QUANTITIES = {  # title: the fields of a Quantity. {bert} stands for the model's label
    "accuracy": ("predictions", "predicted == label"),
    "weighted F1": ("predictions", weighted_f1), "ECE": ("predictions", calibration_error),
    "same class as {bert}": ("predictions", "predicted == predicted_bert"),
    "ConfDrop@3": ("faithfulness", "confidence_drop", "random 3", "random_drop"),
    "ConfDrop@3 − random": ("faithfulness", "confidence_drop - random_drop"),
    "ConfDrop@3, [MASK]": ("faithfulness", "masked_drop"),
    "FlipRate@3": ("faithfulness", "flip", "random 3", "random_flip"),
    "FlipRate@3 − random": ("faithfulness", "flip - random_flip"),
    "FlipRate@3, [MASK]": ("faithfulness", "masked_flip"),
    "short-token ratio": ("short_tokens", "short_token_ratio", "all words", "short_share_of_words"),
    "Jaccard@10": ("agreement", "jaccard", "chance", "chance_jaccard"),
    "Jaccard over chance": ("agreement", over_chance),
    "Overlap@10": ("agreement", "overlap", "chance", "chance_overlap"),
    "cosine": ("direction", "cosine"), "cosine, top 10": ("direction", "cosine_top10"),
    "polarity cosine": ("direction", "polarity_cosine"),
    "same prediction": ("direction", "same_prediction"),
    "SD of the cosine": ("direction", lambda rows: rows["cosine"].std()),
    "SD of the polarity cosine": ("direction", lambda rows: rows["polarity_cosine"].std()),
    "post-but ratio": ("contrast", "post_but_ratio", "equal credit", "equal_credit_ratio"),
    "post-but ratio − equal credit": ("contrast", "post_but_ratio - equal_credit_ratio"),
    "ratio, “but” − “and”": ("contrast", "polarity_post_but_ratio - polarity_post_but_ratio_and"),
    "follows second clause": ("contrast", "follows_second_clause"),
    "swaps with clauses": ("contrast", "swaps_with_clauses"),
    "less confident without “but”": ("contrast", "less_confident_without_but"),
    "right, adjective not in top 3": ("contrast", "misses_second_adjective", "chance",
                                      "chance_misses"),
    "right, adjective not in top 3 − chance": ("contrast",
                                               "misses_second_adjective - chance_misses"),
    "function words": ("words", "function_share", "of tokens", "function_token_share"),
    "polarity words": ("words", "polarity_share", "of tokens", "polarity_token_share"),
    "right, no polarity word in top 3": ("words", "misses_polarity_words", "chance",
                                         "chance_misses"),
    "Jaccard@3": ("explainers", "jaccard", "chance", "chance_jaccard"),
    "n in the test split": ("buckets", len)}
QUANTITIES = {title: Quantity(*fields) for title, fields in QUANTITIES.items()}
NEGATIONS = ("not", "never", "n't", "hardly", "out of scope")
for condition in NEGATIONS:
    QUANTITIES[condition] = Quantity("negation", "right", where={"condition": condition})
BUCKETED = ["n"]  # the columns of the table of buckets that are of explained sentences
QUANTITIES["n"] = Quantity("agreement", len, where={"first": B, "second": D})
for (first, second), name in product(PAIRS, ("Jaccard@10", "polarity cosine")):
    BUCKETED.append(f"{name}, {{{first}}} / {{{second}}}")
    QUANTITIES[BUCKETED[-1]] = Quantity(QUANTITIES[name].measure, QUANTITIES[name].value,
                                        where={"first": first, "second": second})
AXES = {"contrast": ("seed", "positive", "negative"), "negation": ("seed", "adjective")}


def pick(measures, name, who, explainer="shap"):
    """The rows of a quantity for a model, a pair or {column: value}."""
    if not isinstance(who, dict):
        who = {"model": who} if isinstance(who, str) else dict(zip(("first", "second"), who))
    frame = measures[QUANTITIES[name].measure]
    wanted = {"explainer": explainer} | QUANTITIES[name].where | who
    for key in wanted.keys() & set(frame):
        frame = frame[frame[key] == wanted[key]]
    return frame


def quantity(measures, name, first, second=None, explainer="shap", baseline=False):
    """estimate() of a quantity, or of the difference of two models or pairs; n = 0 without rows."""
    value = QUANTITIES[name].baseline_value if baseline else QUANTITIES[name].value
    frames = [pick(measures, name, who, explainer) for who in (first, second) if who is not None]
    if any(frame.empty for frame in frames):
        return {"mean": np.nan, "sd": np.nan, "low": np.nan, "high": np.nan, "n": 0, "seeds": {}}
    axes = AXES.get(QUANTITIES[name].measure, ("seed", "id"))
    if isinstance(value, str):
        frames = [frame.assign(value=frame.eval(value, engine="python")) for frame in frames]
    else:
        axes = ("seed",)
        frames = [rows.groupby("seed").apply(value).reset_index(name="value") for rows in frames]
    if second:
        return difference(*frames, "value", axes)
    e, values = estimate(*frames, "value", axes), frames[0]["value"].astype(float)
    # Where no value is below 0, or above 1, the interval ends there.
    e["low"] = max(e["low"], 0) if values.min() >= 0 else e["low"]
    e["high"] = min(e["high"], 1) if values.max() <= 1 else e["high"]
    return e


def printed(name, who):
    """The paper's number: None, a value, or (mean, SD)."""
    if isinstance(who, dict):  # of SHAP, where a table has a row an explainer
        who = tuple(value for value in who.values() if value != "shap")
    return PAPER.get(name, {}).get(who[0] if len(who) == 1 else who)


# --------------------------------------------------------------------------------------------------
# The claims, and where our quantity must lie for each to hold: written before the run

INF = float("inf")
HOLDS, FAILS, OPEN, UNTESTED = "holds", "does not hold", "undecided", "not tested"


class Claim(NamedTuple):
    section: str
    quote: str
    # [(quantity, compared, low, high)]. compared: (a,), the value of a, or (a, b), that of a less
    # that of b, of models or pairs; all of them must lie between low and high
    comparisons: list
    plain: str = ""  # for the summary of findings, in our words
    reason: str = ""  # of the range
    headline: bool = False  # judged by every explainer in a table of its own


CLAIMS = (
    Claim("Abstract", "frequently arrives at the correct label but does so for the wrong reasons",
          [("right, adjective not in top 3", [(K, B)], 0, INF),
           ("right, no polarity word in top 3", [(K, B)], 0, INF)],
          "{kd_tinybert} is right for the wrong reason more often than {bert}"),
    Claim("3.7", "Lower agreement indicates greater reasoning drift",
          [("Jaccard@10", [(RETRAINED,)], 0.9, INF)],
          reason="else a BERT drifts from itself by being trained again; at 0.9 about half a token "
          "of ten differs"),
    Claim("4.1", "achieve broadly similar performance on the SST-5 test set",
          [("accuracy", [(D, B), (K, B)], -0.05, 0.05)],
          "the three models are about equally accurate",
          "0.05: the paper’s largest difference, 0.024, and its sampling error at 2,210 sentences"),
    Claim("4.2", "DistilBERT shows the largest confidence drop, followed by BERT, while "
          "KD-TinyBERT exhibits the smallest drop",
          [("ConfDrop@3", [(D, B), (B, K)], 0, INF)],
          "removing the top three tokens costs {distilbert} most confidence, {kd_tinybert} least",
          headline=True),
    Claim("4.2", "BERT and DistilBERT both have substantial flip rates",
          [("FlipRate@3 − random", [(B,), (D,)], 0, INF)]),
    Claim("4.2", "KD-TinyBERT’s flip rate is effectively zero",
          [("FlipRate@3", [(K,)], -INF, 0.05)],
          "{kd_tinybert} hardly ever changes its prediction when its top three tokens are removed",
          "0.05 is one sentence in twenty; 0 of 150 has an interval up to 0.02"),
    Claim("4.2", "The short-token ratios are very similar across all three models",
          [("short-token ratio", [(D, B), (K, B)], -0.05, 0.05)],
          reason="0.05 is half a word of ten; of LIME’s words, so of the first seed"),
    Claim("4.3", "DistilBERT remains closer to its teacher (BERT) than KD-TinyBERT",
          [("Jaccard@10", [(BD, BK)], 0, INF)], headline=True),
    Claim("4.3", "KD-TinyBERT exhibits the lowest similarity",
          [("Jaccard@10", [(BD, BK), (BD, DK)], 0, INF)]),
    Claim("4.3", "indicating clear reasoning drift", [("Jaccard@10", [(RETRAINED, BK)], 0, INF)],
          "{kd_tinybert} agrees less with {bert} than {bert} trained again does", headline=True),
    Claim("4.4", "DistilBERT aligns more strongly with BERT in directional reasoning than "
          "KD-TinyBERT does", [("cosine", [(BD, BK)], 0, INF)], headline=True),
    Claim("4.4", "The drop from 0.72 (BERT–DistilBERT) to 0.59 (BERT–KD) is substantial and "
          "indicates a divergence in how compressed models weigh positive vs. negative cues",
          [("polarity cosine", [(BD, BK)], 0, INF)],
          "{distilbert} weighs words more like {bert} than {kd_tinybert} does", headline=True),
    Claim("4.4", "The large variance for KD-TinyBERT (std ~ 0.43) further reflects instability",
          [("SD of the cosine", [(BK, BD)], 0, INF),
           ("SD of the polarity cosine", [(BK, BD)], 0, INF)], headline=True),
    Claim("4.5", "all three models exhibit post-but ratios well above chance level",
          [("post-but ratio − equal credit", [(B,), (D,), (K,)], 0, INF)]),
    Claim("4.5", "they generally recognize the contrastive structure",
          [("ratio, “but” − “and”", [(B,), (D,), (K,)], 0, INF)],
          "“but” moves more credit to the second clause than “and” does"),
    Claim("4.5", "BERT demonstrates the strongest … preference for the post-but clause",
          [("post-but ratio", [(B, D), (B, K)], 0, INF)],
          reason="in the paper’s own Table 4 KD-TinyBERT’s is higher, 0.650 against 0.641"),
    Claim("4.5", "indicating greater reliance on token-level polarity in the distilled models",
          [("less confident without “but”", [(B, D), (B, K)], 0, INF)]),
    Claim("5.2", "KD-TinyBERT often assigns high importance to neutral function words",
          [("function words", [(K, B)], 0, INF)]),
    Claim("5.2", "underweighting actual sentiment-bearing tokens",
          [("polarity words", [(K, B)], -INF, 0)]),
    Claim("5.2", "This behavioral pattern is a direct consequence of the distillation objective",
          [("polarity cosine", [(BK, TWIN)], -INF, 0)],
          "it is the distillation objective that moves {kd_tinybert} away from {bert}"),
    Claim("5.3", "only BERT and DistilBERT used the correct sentiment-bearing tokens",
          [("right, adjective not in top 3 − chance", [(B,), (D,)], -INF, 0),
           ("right, adjective not in top 3", [(K, D)], 0, INF)]),
    Claim("5.4", "maintains predictive accuracy at the expense of reasoning fidelity",
          [("polarity cosine", [(BK, RETRAINED)], -INF, 0), ("accuracy", [(K, B)], -0.05, INF)],
          reason="0.05 as in 4.1"))


def judge(e, low, high):
    """The verdict on a quantity whose claim holds between low and high. An interval that touches a
    bound, as where all differences are zero, leaves it undecided."""
    if not e["n"]:
        return UNTESTED
    if low < e["low"] and e["high"] < high:
        return HOLDS
    return FAILS if e["high"] < low or high < e["low"] else OPEN


def evaluate(measures, claim, explainer="shap"):
    """(verdict, results) of a claim, a result for each comparison. The claim holds where all its
    comparisons hold, and does not hold where one does not."""
    results = []
    for name, compared_list, low, high in claim.comparisons:
        for compared in compared_list:
            compared = [gold_twin(measures) if who == TWIN else who for who in compared]
            e = quantity(measures, name, *compared, explainer=explainer)
            paper = [np.ravel([printed(name, who)])[0] for who in compared]  # the means
            baseline = None
            if QUANTITIES[name].baseline and len(compared) == 1:
                baseline = quantity(measures, name, *compared, explainer=explainer, baseline=True)
            results.append({
                "quantity": name, "compared": compared, **e, "verdict": judge(e, low, high),
                # how far inside the range the interval lies; negative: how far outside
                "distance": np.nan_to_num(min(e["low"] - low, high - e["high"])),
                "must_exceed": None if low == -INF else low,
                "must_stay_below": None if high == INF else high,
                "paper": None if None in paper else paper[0] - sum(paper[1:]),
                "baseline": baseline and baseline["mean"]})
    verdicts = {result["verdict"] for result in results}
    return next((v for v in (FAILS, UNTESTED, OPEN) if v in verdicts), HOLDS), results


def judge_claims(measures):
    """A record a claim: verdict, the comparison that decides, which is the worst for the claim, and
    the verdicts by explainer and by each seed alone (where its sentences give an interval)."""
    records, seeds = [], [int(seed) for seed in measures["models"]["seed"].unique()]
    measures_of = {seed: {name: frame[frame["seed"] == seed] if "seed" in frame else frame
                          for name, frame in measures.items()} for seed in seeds}
    for i, claim in enumerate(CLAIMS, 1):
        frame = measures[QUANTITIES[claim.comparisons[0][0]].measure]
        explained_by = set(frame.get("explainer", ["shap"]))
        by_explainer = {explainer: evaluate(measures, claim, explainer)
                        for explainer in ("shap", "lime", "ig") if explainer in explained_by}
        verdict, results = by_explainer["shap"]
        decisive = [result for result in results if result["verdict"] == verdict]
        by_seed = {}
        for seed in seeds:
            judged, of_seed = evaluate(measures_of[seed], claim)
            if all(np.isfinite(result["low"]) for result in of_seed):
                by_seed[seed] = judged
        records.append({
            "claim": i, "section": claim.section, "quote": claim.quote, "reason": claim.reason,
            "plain": claim.plain, "headline": claim.headline, "verdict": verdict,
            "deciding": min(decisive, key=lambda result: result["distance"]),
            "by_explainer": by_explainer, "by_seed": by_seed})
    return records


# --------------------------------------------------------------------------------------------------
# Tables

TABLES = {  # heading: (columns whose values make a row, quantities, how to read it)
    "Accuracy and F1": (["model"], ["accuracy", "weighted F1", "same class as {bert}", "ECE"],
        "Section 4.1, test split. F1 and ECE (ten bins) are not averages; their intervals are "
        "over seeds alone."),
    "Table 1": (["model"], ["ConfDrop@3", "ConfDrop@3 − random", "ConfDrop@3, [MASK]", "FlipRate@3",
                            "FlipRate@3 − random", "FlipRate@3, [MASK]", "short-token ratio"],
        "Section 4.2, SHAP’s top 3 deleted, or replaced by [MASK]. Only what exceeds 3 "
        "random tokens is due to the explanation."),
    "Table 2": (["first", "second"], ["Jaccard@10", "Jaccard over chance", "Overlap@10"],
        "Section 4.3, agreement of SHAP’s top 10. {bert} / another seed: the same model, trained "
        "again; its pairs share models, so its own interval is too narrow, but not that of a "
        "difference from it. Over chance: 0 for random sets, 1 for equal ones."),
    "Table 3": (["first", "second"],
                ["cosine", "polarity cosine", "cosine, top 10", "same prediction"],
        "Section 4.4, direction. The cosine is of each model’s own predicted class, so it is low "
        "where two predict differently; the polarity cosine explains Σ (c − 2) p_c in both."),
    "Table 4": (["model"], ["post-but ratio", "ratio, “but” − “and”", "follows second clause",
                            "swaps with clauses", "less confident without “but”",
                            "right, adjective not in top 3"],
        "Section 4.5. “but” − “and” is of the polarity score’s attributions. The last: of the "
        "right labels, those with no top-3 token on the second adjective."),
    "Words": (["model"],
              ["function words", "polarity words", "right, no polarity word in top 3"],
        "Section 5.2: shares of |φ| in the 150 sentences (A27, A28); of the right labels, those "
        "with no polarity word in the top 3 (A29)."),
    "Negation": (["model"], NEGATIONS, "RQ4 (A22): right predictions. The paper reports none."),
    "Faithfulness by explainer": (["model", "explainer"], ["ConfDrop@3", "FlipRate@3"],
        "Table 1 for the tokens that each explainer ranks first (LIME: words, first seed)."),
    "Agreement by explainer": (["first", "second", "explainer"], ["Jaccard@10", "polarity cosine"],
        "Tables 2 and 3 under each explainer (LIME: words, first seed)."),
    "Explainers": (["model", "first", "second"], ["Jaccard@3"],
        "Section 3.7 (2): two explainers of one model, on words."),
    "Buckets": (["bucket"], ["n in the test split", *BUCKETED],
        "Section 3.7 (5). n: of the 150 sentences, per seed; few: below 10.")}
WITH_SD = ("ConfDrop@3", "cosine", "polarity cosine", "post-but ratio")


def number(value):
    return "–" if value is None or np.isnan(value) else f"{value:z.3f}"


def text_of(e, sd=False):
    """ "0.096 ± 0.100 [0.080, 0.112]" of an estimate."""
    ends = f" [{number(e['low'])}, {number(e['high'])}]" if np.isfinite(e["low"]) else ""
    return number(e["mean"]) + (f" ± {number(e['sd'])}" if sd else "") + ends


def markdown(lines):
    """A table of [{heading: cell}]."""
    rows = [lines[0], ["---"] * len(lines[0]), *(line.values() for line in lines)] if lines else []
    escaped = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped) or "Not in this run."


def table(measures, names, heading):
    """(records, Markdown) of a table. Of a quantity: the paper's number, ours, its baseline."""
    columns, quantities, _ = TABLES[heading]
    records, lines = [], []
    frame = measures[QUANTITIES[quantities[0]].measure]
    if frame.empty:
        return [], markdown([])
    for who in frame[columns].drop_duplicates().to_dict("records"):
        record, line = dict(who), {"": short(names, who.values())}
        for name in quantities:
            e, title = quantity(measures, name, who), name.format(**names)
            beside = QUANTITIES[name].baseline
            record |= {f"{name} {part}": e[part] for part in ("mean", "sd", "low", "high", "n")}
            if name in PAPER:
                record[f"{name} paper"] = printed(name, who)
                paper = np.array([record[f"{name} paper"]], dtype=float).ravel()
                line[f"{title}: paper"], title = " ± ".join(map(number, paper)), f"{title}: ours"
            line[title] = text_of(e, name in WITH_SD)
            if name in ("n", "n in the test split"):
                line[title] = f"{e['mean']:.0f}{' (few)' if e['mean'] < 10 else ''}"
            if beside:
                record[f"{name} {beside}"] = quantity(measures, name, who, baseline=True)["mean"]
                line[f"{beside} ({name})"] = number(record[f"{name} {beside}"])
        records.append(record)
        lines.append(line)
    return records, markdown(lines)


def table5(measures, names):
    """Table 5 as Markdown: the paper's, and that of each of our seeds (A23)."""
    lines, example = [], measures["example"]
    example["cell"] = [f"{row.polarity} ({row.confidence:.3f})" for row in example.itertuples()]
    for condition, paper in PAPER["Table 5"].items():
        line = {"condition": condition}
        for model, rows in example[example["condition"] == condition].groupby("model", sort=False):
            line[f"{names[model]}: paper"] = paper.get(model, "–")
            line[f"{names[model]}: ours"] = "<br>".join(rows["cell"])
        lines.append(line)
    return markdown(lines)


DEPENDS = "Does the answer depend on the explainer?"


def explainer_table(measures, claims, names):
    """The comparisons of the headline claims under each explainer, as Markdown."""
    lines = []
    for claim in claims:
        if claim["headline"]:
            for same in zip(*(found for _, found in claim["by_explainer"].values())):
                line = {"": claim["claim"], "difference": words_of(same[0], names)}
                for explainer, one in zip(claim["by_explainer"], same):
                    line[EXPLAINER_NAMES[explainer]] = f"{text_of(one)} {one['verdict']}"
                lines.append(line)
    note = ("The verdict of a claim is SHAP’s, as in the paper. LIME explains the first seed "
            "alone, so its intervals do not cover trainings.")
    gaps = measures["completeness"]
    if len(gaps):
        gaps = gaps.astype({"relative_gap": float}).groupby("model")["relative_gap"]
        note += (" IG, integrated gradients, never removes a token. Its attributions miss the "
                 f"change of the probabilities by {gaps.median().max():.2%} or less in a model’s "
                 f"median sentence, by {gaps.quantile(0.95).max():.1%} or less in 95% of them.")
    return f"{note}\n\n{markdown(lines)}"


# --------------------------------------------------------------------------------------------------
# Figures: (measures, artifacts, names) -> (figure, caption)

COLOURS = {B: "#0072B2", D: "#E69F00", K: "#009E73", "tinybert_ce": "#CC79A7",
           BD: "#E69F00", BK: "#009E73", DK: "#F0E442"}  # Okabe and Ito: for colour-blind eyes too
MARKS = {HOLDS: ("ko", "#0072B2"), FAILS: ("ks", "#D55E00"), OPEN: ("ko", "white"),
         UNTESTED: ("k", "white")}
LAYOUT = {"font.size": 8, "savefig.dpi": 200, "text.parse_math": False, "legend.frameon": False,
          "axes.spines.top": False, "axes.spines.right": False,
          "figure.constrained_layout.use": True}


def wrap(label, width=11):
    """The label in lines of at most so many characters; words stay whole."""
    return textwrap.fill(label, width, break_long_words=False)


def size(measures, name, who):
    """ "n = 150 sentences, seeds: 3" of a quantity."""
    rows = pick(measures, name, who)
    return f"n = {rows['id'].nunique():,} sentences, seeds: {rows['seed'].nunique()}"


def first_seed(measures):
    return int(measures["models"]["seed"].min())


def level_line(ax, left, right, value, style, label=None):
    """A black line, dotted or dashed, on a white one: it shows on any bar, in grey too."""
    ax.hlines(value, left, right, color="white", linewidth=3)
    ax.hlines(value, left, right, "black", style, linewidth=1.4, label=label)


def figure0(claims, names):
    """The claims at a glance: the comparison that decides, in units of the row's largest value."""
    fig, ax = plt.subplots(figsize=(8.2, 0.46 * len(claims) + 0.3))
    for y, claim in enumerate(claims):
        one, (mark, colour) = claim["deciding"], MARKS[claim["verdict"]]
        keys = ("mean", "low", "high", "paper", "baseline", "must_exceed", "must_stay_below")
        values = np.array([*map(one.get, keys), *one["seeds"].values()], dtype=float)
        values /= 1.1 * np.nanmax([*abs(values), 1e-9])
        mean, low, high, paper, baseline, above, below, *seeds = values
        left, right = max(-1, np.nan_to_num(above, nan=-1)), min(1, np.nan_to_num(below, nan=1))
        ax.barh(y, right - left, 0.78, left, color="#E3ECE3")
        ax.plot([low, high], [y, y], "k-")
        ax.plot(seeds, [y + 0.27] * len(seeds), "k.", markersize=3)
        ax.plot([baseline, baseline], [y - 0.39, y + 0.39], "k:")
        ax.plot(paper, y, "kD", markerfacecolor="white", markersize=5)
        ax.plot(mean, y, mark, markerfacecolor=colour)
        quote = textwrap.shorten(f"{claim['claim']}. {claim['quote']}", 60, placeholder=" …")
        ax.text(-2.75, y, f"{quote}\n{wrap(words_of(one, names), 50)}", va="center", size=6.5)
        ax.text(1.05, y, f"{claim['verdict']}\n{text_of(one)}", va="center", size=6.5,
                color="black" if colour == "white" else colour)
        if y == 0 or claims[y - 1]["section"] != claim["section"]:
            ax.text(-3.2, y, claim["section"], va="center", size=7, weight="bold")
            ax.axhline(y - 0.5, color="#BBBBBB")
    ax.axvline(0, color="black", zorder=1.5)  # above the shading, below the marks
    ax.set(xlim=(-3.2, 1.8), ylim=(len(claims) - 0.5, -0.6))
    ax.axis("off")
    return fig, ("The paper’s claims at a glance; each row has its own scale, the line is zero. "
                 "Shaded: where the claim holds. Bar: our 95% interval; its mark is round where it "
                 "holds, square where it does not, hollow where undecided. Dots: each seed. "
                 "Diamond: the paper. Dotted: the baseline.")


def figure1(measures, artifacts, names):
    """3.1: the label distribution of the whole data set."""
    counts = measures["labels"].pivot(index="label", columns="split", values="sentences")
    counts = counts[list(SPLITS)]
    total = counts.sum(axis=1)
    fig, ax = plt.subplots(figsize=(5.2, 3))
    counts.plot.bar(stacked=True, ax=ax, width=0.72, rot=0, xlabel="", ylabel="sentences",
                    color=["#4C78A8", "#9ECAE1", "#F2F2F2"], edgecolor="black", linewidth=0.5)
    for i, n in enumerate(total):
        ax.text(i, n, f"{n:,}\n{n / total.sum():.1%}", ha="center", va="bottom", fontsize=8)
    ax.set_xticks(range(len(LABELS)), map(wrap, LABELS))
    ax.set_ylim(0, 1.2 * total.max())
    ax.legend([f"{split} ({n:,})" for split, n in counts.sum().items()], ncols=3,
              loc="upper center", bbox_to_anchor=(0.5, -0.17))
    return fig, f"Label distribution of the data set, n = {total.sum():,} sentences, all splits."


def figure2(measures, artifacts, names):
    """3.1: examples of the balanced subset."""
    subset = pd.DataFrame(load_subset(artifacts))
    subset["long"] = subset["text"].str.len() > 110  # characters
    shown = subset.sort_values(["label", "long"], kind="stable").groupby("label").head(2)
    fig, ax = plt.subplots(figsize=(5.6, 3.9))
    ax.axis("off")
    cells = [[row.id, wrap(textwrap.shorten(row.text, 110, placeholder=" …"), 58),
              f"{row.label} {LABELS[row.label]}"] for row in shown.itertuples()]
    grid = ax.table(cells, colLabels=["id", "text", "gold"], cellLoc="left", colLoc="left",
                     colWidths=[0.14, 0.64, 0.22], bbox=[0, 0, 1, 1])
    grid.auto_set_font_size(False)
    for cell in grid.get_celld().values():
        cell.PAD = 0.01 / cell.get_width()
        cell.set(linewidth=0.3, fontsize=7.5)
    return fig, (f"Examples of the balanced subset, n = {len(subset)}: of each class the first two "
                 "sentences of at most 110 characters.")


PIPELINE = (  # reads, script, does, writes
    ("the text\na pretrained encoder", "01_train.py", "fine-tunes on gold labels", "models/"),
    ("the text\na pretrained student\nmodels/", "02_distill.py", "distils the teacher", "models/"),
    ("models/\nthe text", "03_explain.py", "explains 150 sentences",
     "subset.jsonl\nexplanations/"),
    ("models/\nthe text\nexplanations/", "04_evaluate.py", "measures each sentence", "measures/"),
    ("models/\nthe text\nexplanations/", "05_probes.py", "measures probe sentences",
     "probes/\nmeasures/"),
    ("measures/\nexplanations/\nprobes/", "06_figures.py", "averages and draws",
     "tables/, figures/\nreport.md\nexplanations.html"))


def figure3(measures, artifacts, names):
    """3.8: the pipeline."""
    fig, ax = plt.subplots(figsize=(5.4, 5))
    ax.set(xlim=(0, 10), ylim=(len(PIPELINE) - 0.5, -0.5))
    ax.axis("off")
    for y, (reads, script, does, writes) in enumerate(PIPELINE):
        for x, text, colour in ((1.5, reads, "#F2F2F2"), (5.1, f"{script}\n{does}", "#CFE6F5"),
                                (8.6, writes, "#F2F2F2")):
            ax.text(x, y, text, ha="center", va="center",
                    bbox={"boxstyle": "round", "facecolor": colour})
        for start, end in ((2.75, 3.15), (7.05, 7.35)):
            ax.annotate("", (end, y), (start, y), arrowprops={"arrowstyle": "->"})
    return fig, "The pipeline: what each script reads (left) and writes (right)."


def bar(ax, i, e, paper, colour):
    """A bar at i: mean and interval, each seed's mean to its left, the paper's to its right."""
    ax.bar(i, e["mean"], 0.72, color=colour, edgecolor="black", linewidth=0.5)
    ax.plot([i, i], [e["low"], e["high"]], "_-", color="black", linewidth=1, zorder=4)
    if len(e["seeds"]) > 1:
        ax.plot([i - 0.2] * len(e["seeds"]), e["seeds"].values(), "o", color="black", markersize=4,
                markeredgecolor="white", markeredgewidth=0.6, label="one seed", zorder=4)
    if paper is not None:
        ax.plot(i + 0.2, np.ravel(paper)[0], "D", color="white", markeredgecolor="black",
                markersize=5, clip_on=False, label="paper", zorder=5)


def bars(measures, artifacts, names, what, quantities, compared):
    """Figures 4-6: a bar for each model or pair, the baseline dotted, the ceiling dashed."""
    compared = [who for who in compared if who in names or who in PAIRS]
    end, width = len(compared) - 0.5, 14 if len(compared) < 4 else 10
    fig, axes = plt.subplots(1, 2, figsize=(6.2, 3.2), sharey=quantities[0] != "ConfDrop@3")
    for ax, name in zip(axes, quantities):
        for i, who in enumerate(compared):
            bar(ax, i, quantity(measures, name, who), printed(name, who), COLOURS[who])
            if QUANTITIES[name].baseline:
                value = quantity(measures, name, who, baseline=True)["mean"]
                level_line(ax, i - 0.4, i + 0.4, value, ":", QUANTITIES[name].baseline)
        ceiling = quantity(measures, name, RETRAINED)["mean"] if compared[0] in PAIRS else np.nan
        if np.isfinite(ceiling):
            level_line(ax, -0.5, end, ceiling, "--", short(names, RETRAINED))
        if name in ("accuracy", "weighted F1"):  # of a class that every sentence gets
            share = pick(measures, name, B)["label"].value_counts(normalize=True).max()
            value = share if name == "accuracy" else share * 2 * share / (1 + share)
            level_line(ax, -0.5, end, value, ":", "most frequent class")
        ax.axhline(0, color="black", linewidth=0.6)
        labels = [wrap(short(names, who), width) for who in compared]
        ax.set_xticks(range(len(compared)), labels, fontsize=7.5)
        ax.set_title(name)
    handles, labels = axes[0].get_legend_handles_labels()
    legend = dict(zip(labels, handles))
    fig.legend(legend.values(), legend, loc="outside lower center", ncols=4)
    return fig, (f"{what}, {size(measures, quantities[0], compared[0])}. Bars: means with 95% "
                 "intervals; diamonds: the paper, of its own models and text.")


def figure7(measures, artifacts, names):
    """4.4: mean cosine of signed SHAP attributions. The diagonal is 1 by definition, thus grey."""
    values, text = np.full((3, 3), np.nan), np.full((3, 3), "1\n(itself)", dtype=object)
    for pair in PAIRS:
        i, j = (PAPER_MODELS.index(model) for model in pair)
        e = quantity(measures, "cosine", pair)
        values[i, j] = values[j, i] = e["mean"]
        told = text_of(e).replace(" [", "\n[")
        text[i, j] = text[j, i] = f"{told}\npaper {printed('cosine', pair)[0]:.3f}"
    fig, ax = plt.subplots(figsize=(4.8, 3.4), layout="compressed")
    image = ax.imshow(values, plt.get_cmap("Blues").with_extremes(bad="#DDDDDD"),
                      vmin=min(0, np.nanmin(values)), vmax=1)
    for i, j in np.ndindex(3, 3):
        ax.text(j, i, text[i, j], ha="center", va="center", fontsize=8,
                color="white" if image.norm(values[i, j]) > 0.6 else "black")
    labels = [wrap(names[model]) for model in PAPER_MODELS]
    ax.set(xticks=range(3), yticks=range(3), xticklabels=labels, yticklabels=labels)
    scale = fig.colorbar(image, label="mean cosine").ax
    ceiling = quantity(measures, "cosine", RETRAINED)["mean"]
    level_line(scale, 0, 1, ceiling, "--")
    note = f"dashed on the scale, {ceiling:.3f}" if np.isfinite(ceiling) else "not in this run"
    return fig, ("Mean cosine of signed SHAP attributions with 95% intervals, each model’s for its "
                 f"own predicted class, {size(measures, 'cosine', BK)}. {short(names, RETRAINED)}: "
                 f"{note}.")


def figure8(measures, artifacts, names):
    """4.4: orientations of SHAP vectors. The projection illustrates (A18), the angle measures."""
    seed, subset, unit = first_seed(measures), load_subset(artifacts), []
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.4))
    for model in PAPER_MODELS:
        for row in load_explanations(artifacts, model, seed, "shap", subset):
            phi = predicted_attributions(row)
            unit.append(phi / (np.linalg.norm(phi) or 1))
    padded = np.array(list(zip_longest(*unit, fillvalue=0))).T  # (3 * 150, longest sentence)
    pca = PCA(2, svd_solver="full")
    for model, mark, cloud in zip(PAPER_MODELS, "o^s", np.split(pca.fit_transform(padded), 3)):
        left.scatter(*cloud.T, s=14, marker=mark, facecolor="none", edgecolor=COLOURS[model],
                     linewidth=0.8, label=names[model])
    for who, style in ((BD, {"color": COLOURS[D], "histtype": "stepfilled", "alpha": 0.45}),
                       (BK, {"color": COLOURS[K], "histtype": "step", "linewidth": 2}),
                       (RETRAINED, {"color": "black", "histtype": "step", "linestyle": "--"})):
        cosines = pick(measures, "polarity cosine", who)["polarity_cosine"].astype(float).dropna()
        if len(cosines):
            angles = np.degrees(np.arccos(cosines.clip(-1, 1)))
            right.hist(angles, range(0, 181, 10), weights=np.full(len(angles), 100 / len(angles)),
                       label=f"{names[who[1]]}: median {angles.median():.0f}°", **style)
    right.axvline(90, color="black", linestyle=":", label="unrelated: 90°")
    x, y = (f"component {i} ({share:.0%} of variance)"
            for i, share in enumerate(pca.explained_variance_ratio_, 1))
    left.set(title="Illustration: a 2D projection", xlabel=x, ylabel=y)
    right.set(title="Measurement: the angle", ylabel="% of sentences", xticks=range(0, 181, 45),
              xlabel=f"angle to {names[B]} (degrees)")
    for ax in (left, right):
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), fontsize=7.5)
    return fig, ("Left, an illustration (A18): unit SHAP vectors of the predicted class on two "
                 f"principal components, seed {seed}. Right, the measurement: the angle between "
                 "attributions of the polarity score, which needs no choice of a class, "
                 f"{size(measures, 'polarity cosine', BK)}.")


def figure9(measures, artifacts, names):
    """4.5: signed token attributions of Table 5's sentence."""
    seed = first_seed(measures)
    example = measures["example"].query("seed == @seed and condition == 'Original'")
    fig, axes = plt.subplots(1, 3, figsize=(6.4, 3.4), sharex=True, sharey=True)
    for ax, model in zip(axes, PAPER_MODELS):
        rows = explained_rows(Path(artifacts) / f"probes/{model}_{seed}.shap.jsonl")
        row, said = rows["weak-joyful"], example.set_index("model").loc[model]
        phi, y = predicted_attributions(row), range(len(row["tokens"]))
        ax.barh(y, phi, color=np.where(phi >= 0, "#0072B2", "#D55E00"), edgecolor="black",
                linewidth=0.5)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set_yticks(y, row["tokens"])
        ax.set_title(f"{wrap(names[model], 14)}\nclass: {LABELS[row['predicted']]}\n"
                     f"Table 5: {said['polarity']} ({said['confidence']:.2f})", fontsize=8.5)
    axes[0].invert_yaxis()
    fig.supxlabel("SHAP value: below 0 it opposes that class, above 0 it supports it", fontsize=9)
    return fig, (f"Signed SHAP attributions of “{row['text']}” for the class that each model "
                 f"predicts, n = 1 sentence, seed {seed}. Table 5 adds up the classes of one sign.")


FIGURES = (
    figure0, figure1, figure2, figure3,
    partial(bars, what="The test split", quantities=("accuracy", "weighted F1"), compared=MODELS),
    partial(bars, what="The top 3 SHAP tokens removed, dotted: 3 random tokens",
            quantities=("ConfDrop@3", "FlipRate@3"), compared=MODELS),
    partial(bars, what="Agreement of the top 10 SHAP tokens, dotted: two random sets",
            quantities=("Jaccard@10", "Overlap@10"), compared=PAIRS),
    figure7, figure8, figure9)


# --------------------------------------------------------------------------------------------------
# The page: the paper's Figure 9 for every sentence, without a script

CASES = {"contrastive": "Contrastive: with “but” inside, the lowest polarity cosine, {:.3f}",
         "borderline": "Borderline: the smallest margin of BERT’s two likeliest classes, {:.3f}",
         "kd_right_far_from_bert": "Right for other reasons: of the sentences that the distilled "
                                   "student gets right, the lowest polarity cosine, {:.3f}"}
STYLE = """:root{color-scheme:light dark;font:16px/1.65 system-ui,sans-serif}
body{max-width:76rem;margin:0 auto;padding:0 1rem}h1,h2{line-height:1.2}h3,h4{font-size:1.05rem}
h3,h4,p{margin:.3rem 0;overflow-wrap:anywhere}nav a{margin-right:.6em}i,nav a{white-space:nowrap}
article{border-top:1px solid #8888;padding:.7rem 0 1rem;break-inside:avoid}i{font-style:normal}
.models{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,15rem),1fr));
gap:.5rem 1.5rem}small,b{font-size:.75rem;font-weight:normal;display:inline-block}
.p{background:rgba(0,114,178,var(--a))}
.n{background:rgba(213,94,0,var(--a));text-decoration:underline dotted}
sub{font-size:.65em;line-height:1;display:inline-block}
@media print{:root{font-size:8pt}body{max-width:none}nav{display:none}h2{break-after:avoid}
i{-webkit-print-color-adjust:exact;print-color-adjust:exact}}"""


def marked(row):
    """The sentence of an explained row, in HTML. A token, or LIME's word, is coloured by its share
    of the largest attribution to the predicted class; from half of that on, its value follows."""
    spans, values, pieces = row["spans"], row["attributions"], []
    if "tokens" in row:
        spans, values = [[span] for span in spans], predicted_attributions(row)
    for places_of_unit, value in zip(spans, values):
        pieces += [(start, end, value) for start, end in places_of_unit]
    largest, at, html = max(map(abs, values), default=0) or 1, 0, ""
    for start, end, value in sorted(pieces):
        share, told = abs(value) / largest, f"{value:+.2f}".replace("-", "−")
        sign, note = "n" if value < 0 else "p", f"<sub>{told}</sub>" if share >= 0.5 else ""
        look = f"class={sign} style=--a:{0.6 * share:.2f}" if share > 0.1 else ""
        html += (f"{escape(row['text'][at:start])}<i title={told} {look}>"
                 f"{escape(row['text'][start:end])}{note}</i>")
        at = end
    return html + escape(row["text"][at:])


def article(anchor, heading, explained, names):
    """A sentence: models side by side, methods below each other. {model: {method: row}}."""
    html = f'<article id="{anchor}"><h3>{heading}</h3><div class=models>'
    for model, by_method in explained.items():
        row = by_method["shap"]
        right = "right" if row["predicted"] == row["label"] else "wrong"
        html += (f"<div><h4>{escape(names[model])}: {LABELS[row['predicted']]}, {right}</h4>"
                 f"<small>{' '.join(f'{p:.2f}' for p in row['probabilities'])}</small>")
        for method, row in by_method.items():
            html += f"<p><b>{EXPLAINER_NAMES[method]}</b> {marked(row)}</p>"
        html += "</div>"
    return f"{html}</div></article>\n"


def page(measures, artifacts, names):
    """The page, of the first seed: a case of each of the paper's kinds (3.7 (6)), then the 150
    sentences, those first where the distilled student drifts furthest from BERT."""
    seed, subset = first_seed(measures), load_subset(artifacts)
    gold = {row["id"]: f"{row['id']}, gold {LABELS[row['label']]}" for row in subset}
    found = {row["id"]: {} for row in subset}
    models = [model for model in MODELS if model in names]
    for model, method in product(models, ("shap", "ig", "lime")):
        for row in load_explanations(artifacts, model, seed, method, subset):
            found[row["id"]].setdefault(model, {})[method] = row
    drift = pick(measures, "polarity cosine", BK).query("seed == @seed").set_index("id")
    drift = drift["polarity_cosine"].astype(float).sort_values()
    drift = drift.map("{:.2f}".format).replace("nan", "undefined")
    links = [f'<a href="#{i}">{i} ({value})</a>' for i, value in drift.items()]
    sentences = [article(i, f"{gold[i]}: polarity cosine with {names[B]} {value}", found[i], names)
                 for i, value in drift.items()]
    cases, to_cases = "", ""
    for case in measures["cases"].itertuples():
        heading = CASES[case.rule].format(case.value)
        to_cases += f'<a href="#{case.rule}">{heading.partition(":")[0]}</a> '
        cases += article(case.rule, f"{heading} ({gold[case.id]})", found[case.id], names)
    return f"""<!doctype html><html lang=en><head><meta charset=utf-8><style>{STYLE}</style>
<meta name=viewport content="width=device-width,initial-scale=1"><title>Explanations</title></head>
<body><header><h1>Token attributions by model</h1></header><nav aria-label=Sentences>
<p>Most drift from {escape(names[B])} to {escape(names[K])}, with its polarity cosine:
{" ".join(links[:10])}</p>
<p>Cases: {to_cases}</p>
<details><summary>All sentences, most drift first</summary>{" ".join(links)}</details></nav>
<main><p>Drift is a low polarity cosine: how alike two models’ SHAP attributions of the polarity
score are, at most 1; it needs no choice of a class. The colours do: blue tokens support the class
that the model predicts, orange underlined tokens oppose it, so where two models predict
differently, one word may have two colours. The opacity is relative to the largest attribution.
From half of that on, the value follows the token; the others show on hover. Below a
prediction: the probabilities of {", ".join(LABELS)}. Models of seed {seed}.</p>
<h2>Case studies</h2>{cases}
<h2>All sentences, most drift first</h2>{"".join(sentences)}</main></body></html>
"""


# --------------------------------------------------------------------------------------------------
# The report

HOMES = {"predictions": "Accuracy and F1", "faithfulness": "Table 1", "short_tokens": "Table 1",
         "agreement": "Table 2", "direction": "Table 3", "contrast": "Table 4", "words": "Words"}
FIGURES_OF = {"At a glance": (0,), "Accuracy and F1": (4,), "Table 1": (5,), "Table 2": (6,),
              "Table 3": (7, 8), "Table 5": (9,), "The data and the pipeline": (1, 2, 3)}
SAID = {HOLDS: "{}", FAILS: "it does not hold that {}", OPEN: "it is undecided whether {}",
        UNTESTED: "this run cannot test whether {}"}
RULE = (
    "A claim holds where its 95% interval lies inside the range that was stated before the run, "
    "does not hold where it lies outside, and is undecided otherwise. With several comparisons "
    "all must hold; the seeds’ values are of the one that is worst for the claim. Where all values "
    "are equal, the interval is the rule of three, ± 3/n. The verdict is SHAP’s; another verdict "
    "of IG, or of LIME, which explains the first seed alone, stands below it. Numbers such as A18 "
    "are assumptions, which the README lists.")


def words_of(one, names):
    """What a comparison compares, in words."""
    return f"{one['quantity']}, {' − '.join(short(names, who) for who in one['compared'])}"


def home(claim):
    """The heading of the table that a claim is about."""
    return HOMES[QUANTITIES[claim["deciding"]["quantity"]].measure]


def ledger(claims, names, own):
    """The claims as Markdown. own: whether the models are the paper's."""
    lines = []
    for claim in claims:
        ours, seeds = [], claim["deciding"]["seeds"].items()
        for one in claim["by_explainer"]["shap"][1]:
            must = [f"{word} {one[key]:g}" for word, key in (
                ("above", "must_exceed"), ("below", "must_stay_below")) if one[key] is not None]
            ours.append(f"{words_of(one, names)}: {text_of(one)}, must be {' and '.join(must)}")
        verdicts = [f"**{claim['verdict']}**"]
        verdicts += [f"{EXPLAINER_NAMES[e]}: {v}" for e, v in other_explainers(claim).items()]
        line = {"": claim["claim"], "§": claim["section"], "the paper says": f"“{claim['quote']}”",
                "ours": "<br>".join(ours + ([claim["reason"]] if claim["reason"] else [])),
                "seeds": "<br>".join(f"{seed}: {number(value)}" for seed, value in seeds)}
        line["verdict" if own else "verdict, on stand-ins"] = "<br>".join(verdicts)
        line["table"] = f"[{home(claim)}](#{home(claim).lower().replace(' ', '-')})"
        lines.append(line)
    return markdown(lines)


def what_to_believe(claims, names, own):
    """The headline claims in plain words, each turned by its verdict."""
    called = names if own else {key: f"“{name}”" for key, name in names.items()}
    lines = []
    for claim in (claim for claim in claims if claim["plain"]):
        said = SAID[claim["verdict"]].format(claim["plain"].format(**called))
        one, because = claim["deciding"], f"[claim {claim['claim']}](#claims)"
        if one["n"]:
            differs = " differs by" if len(one["compared"]) == 2 else ""
            because = f"{one['quantity']}{differs} {text_of(one)}, {because}"
        lines.append(f"- {said[0].upper()}{said[1:]}: {because}.")
    return "\n".join(lines)


def listed(claims):
    """ "2 (4, 16)": how many claims, and which."""
    numbers = ", ".join(str(claim["claim"]) for claim in claims)
    return f"{len(claims)} ({numbers})" if claims else "0"


def opening(measures, claims, names, own):
    """What the intervals cover, whose models these are, and the verdicts counted."""
    seeds = sorted(measures["models"]["seed"].unique())
    text = (f"**One training of each model (seed {seeds[0]}): the intervals cover sentences alone, "
            "and do not account for variation between trainings.**")
    if len(seeds) > 1:
        text = (f"**{len(seeds)} trainings of each model (seeds {', '.join(map(str, seeds))}): the "
                "intervals cover trainings as well as sentences.**")
    if len(seeds) == 2:
        text += " A BERT trained again is one pair here: its intervals cover sentences alone."
    if not own:
        places = ", ".join(f"“{names[model]}” for {MODELS[model]}" for model in PAPER_MODELS)
        text += (f" The models are stand-ins ({places}): a verdict is on the paper’s pattern, not "
                 "on its models.")
    n = {v: listed([claim for claim in claims if claim["verdict"] == v]) for v in SAID}
    text += (f"\n\nOf {len(claims)} claims of the paper {n[HOLDS]} hold, {n[FAILS]} do not, "
             f"{n[OPEN]} are undecided and {n[UNTESTED]} not tested.")
    for seed in seeds if len(seeds) > 1 else ():
        judged = [claim for claim in claims if seed in claim["by_seed"]]
        differ = [claim for claim in judged if claim["by_seed"][seed] != claim["verdict"]]
        text += f" Seed {seed} alone judges {len(judged)} claims, {listed(differ)} otherwise."
    differ = [claim for claim in claims if other_explainers(claim)]
    section = DEPENDS.lower().replace(" ", "-").strip("?")
    return (f"{text} [Another explainer](#{section}) than SHAP judges {listed(differ)} otherwise. "
            "[explanations.html](explanations.html) shows the sentences, most drift first.")


def other_explainers(claim):
    """The explainers with another verdict than SHAP's, where they have one."""
    return {explainer: verdict for explainer, (verdict, _) in claim["by_explainer"].items()
            if verdict not in (claim["verdict"], UNTESTED)}


def run_details(measures, artifacts, names, stamp):
    """What was run, on what, for how long, as Markdown."""
    runs = pd.DataFrame(read_jsonl(artifacts / "runs.jsonl"))
    lines = [f"{names[row.model]}: {row.layers} layers, {row.parameters:,} parameters, from "
             f"{Path(row.checkpoint).name}" for row in measures["models"].itertuples()]
    lines += [f"commit {stamp['commit']}, {stamp['device']}, {', '.join(runs['machine'].unique())}",
              ", ".join(f"{name} {version}" for name, version in stamp["versions"].items())]
    seconds = [f"{stage} {total:.0f}" for stage, total in
               runs.groupby("stage")["seconds"].sum().items()]
    lines += [f"seconds, those of all calls added up: {', '.join(seconds)}"]
    return "\n".join(f"- {line}" for line in dict.fromkeys(lines))


def case_links(measures, artifacts):
    """3.7 (6), the cases that 05 picked by rule (A26), with links to the page."""
    text = {row["id"]: row["text"] for row in load_subset(artifacts)}
    return "\n".join(f"- {CASES[case.rule].format(case.value)}: “{text[case.id]}” "
                     f"[{case.id}](explanations.html#{case.rule})"
                     for case in measures["cases"].itertuples())


def report(first, sections, claims, captions):
    """report.md: the headings in order, with the claims judged by a table and its figures."""
    text = f"# Faithfulness and reasoning drift: this run against the paper\n\n{first}\n"
    for heading, body in sections.items():
        about = ", ".join(str(claim["claim"]) for claim in claims if home(claim) == heading)
        body = f"Judged in [Claims](#claims) {about}. {body}" if about else body
        figures = [f"![Figure {i}](figures/figure{i}.png)<br>*Figure {i}. {captions[i]}*"
                   for i in FIGURES_OF.get(heading, ())]
        text += "".join(f"\n{part}\n" for part in (f"## {heading}", body, *figures) if part)
    return text


def parse_args(argv=None):
    return cli(__doc__).parse_args(argv)


def main():
    args = parse_args()
    artifacts = Path(args.artifacts)
    measures, stamp = load_measures(artifacts)
    measures, names = prepare(measures), names_of(measures)
    claims, captions = judge_claims(measures), {}
    write_json(artifacts / "tables/claims.json", claims)
    own = all(names[model] == MODELS[model] for model in PAPER_MODELS)
    sections = {"At a glance": "", "Summary of findings": what_to_believe(claims, names, own),
                "Claims": f"{RULE}\n\n{ledger(claims, names, own)}",
                "The data and the pipeline": ""}
    for heading, (_, _, note) in TABLES.items():
        if heading == "Faithfulness by explainer":
            sections[DEPENDS] = explainer_table(measures, claims, names)
        records, text = table(measures, names, heading)
        write_json(artifacts / f"tables/{heading.lower().replace(' ', '_')}.json", records)
        sections[heading] = f"{note.format(**names)}\n\n{text}"
        if heading == "Table 4":
            sections["Table 5"] = table5(measures, names)
    sections |= {"Cases": case_links(measures, artifacts),
                 "The run": run_details(measures, artifacts, names, stamp)}
    (artifacts / "figures").mkdir(exist_ok=True)
    with plt.rc_context(LAYOUT):
        for i, draw in enumerate(FIGURES):
            fig, captions[i] = draw(measures, artifacts, names) if i else draw(claims, names)
            fig.savefig(artifacts / f"figures/figure{i}.png")
            plt.close(fig)
    text = report(opening(measures, claims, names, own), sections, claims, captions)
    write_text(artifacts / "report.md", text)
    write_text(artifacts / "explanations.html", page(measures, artifacts, names))
    for claim in claims:
        one = claim["deciding"]
        print(f"{claim['claim']:2} {claim['verdict']:13} {words_of(one, names)}: {text_of(one)}")
    print(f"wrote {artifacts / 'report.md'} and explanations.html")
    return args


if __name__ == "__main__":
    run(main)
