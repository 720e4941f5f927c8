"""Sections 3.7 (4, 6) and 4.5: probe sentences, the words that get the credit, the case studies.

Reads   the text (--data); models/; subset.jsonl; explanations/*.shap.jsonl of all explained models
Writes  probes/<model>_<seed>.shap.jsonl: the contrastive sentences, explained; a stamp beside it
        probes/polarity_words.json: words that go with high or low labels in the training text
        measures/contrast, example, negation, words, cases.jsonl: one row a sentence; their stamp

    python 05_probes.py --data SetFit/sst5 --artifacts artifacts

SHAP of 576 sentences a model takes most of the time: some minutes on a T4 or, with a small model,
on two CPU cores. After an interruption the same command goes on. With --shard 0/2 and 1/2 two
processes explain half each; without --shard it then measures.
"""
import re
from functools import partial
from itertools import product
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd

from common import (cli, cosine, digest, explain_missing, explain_shap,
                    explained_models, load_classifier, load_explanations, load_splits, load_subset,
                    make_stamp, mean_embedding, pick_device, polarity_attributions, positive,
                    predict_proba, predicted_attributions, read_json, run, top_k,
                    weights_digest, write_json, write_jsonl)

# A20: the paper names excellent, joyful, dull, weak and this frame; the other adjectives are ours
POSITIVE = """excellent joyful brilliant wonderful delightful superb charming great beautiful moving
    funny clever""".split()
NEGATIVE = """dull weak terrible awful boring bad disappointing poor tedious horrible ugly
    stupid""".split()
FRAME = "The movie was {} but the ending was {}."
CONDITIONS = {"Original": "text", "Without “but”": "without_but", "Flipped clauses": "flipped"}
POLARITIES = ("Neg", "Neutral", "Pos")  # Table 5; an adjective's or clause's polarity is 0 or 2
AFFIRMED = "The movie was {}."
NEGATIONS = {  # A22: the negated sentence, and the one without the negation
    "not": ("The movie was not {}.", AFFIRMED), "never": ("The movie was never {}.", AFFIRMED),
    "n't": ("The movie wasn't {}.", AFFIRMED), "hardly": ("The movie was hardly {}.", AFFIRMED),
    "out of scope": ("The movie was {} and I did not see it alone.",
                     "The movie was {} and I saw it alone.")}
# A27: articles, prepositions, conjunctions, auxiliaries (also of "it's": s), pronouns; no negations
FUNCTION_WORDS = set("""
    a an the about across after against among around as at before behind between by during for from
    in inside into of off on onto out over since than through to toward under until up upon via with
    within and or but so yet because if although though when where whether while am is are was were
    be been being have has had having do does did can could may might must shall should will would s
    d ll m re ve i me my you your he him his she her it its we us our they them their who whom whose
    which what that this these those there""".split())
WORD = re.compile(r"\w+")


# --------------------------------------------------------------------------------------------------
# 4.5: the contrastive set, Tables 4 and 5

def contrast_sentences(positive_words, negative_words):
    """4.5: "pairing positive and negative adjectives in both orders"; n of each give 2 n^2 rows
    with "but" and 2 n^2 with "and", each with its variants: no connective (A21), and flipped.
    second, polarity: the adjective of the second clause, and its polarity."""
    rows = []
    for connective, good, bad in product(("but", "and"), positive_words, negative_words):
        frame = FRAME.replace("but", connective)
        for first, second, polarity in ((good, bad, 0), (bad, good, 2)):
            rows.append({"connective": connective, "id": f"{first}-{second}", "positive": good,
                         "negative": bad, "polarity": polarity, "second": second,
                         "text": frame.format(first, second),
                         "without_but": FRAME.replace(" but", "").format(first, second),
                         "flipped": frame.format(second, first)})
    return rows


def polarity_shares(p):
    """Five probabilities -> three: negative, neutral, positive (A23: classes 0 + 1, 2, 3 + 4)."""
    return np.array([p[0] + p[1], p[2], p[3] + p[4]])


def token_words(row):
    """The lower-cased word that each of the n tokens is a piece of; None for punctuation."""
    word_at = [None] * len(row["text"])
    for word in WORD.finditer(row["text"]):
        word_at[word.start():word.end()] = [word.group().lower()] * len(word.group())
    return [word_at[start] for start, _ in row["spans"]]


def post_but_ratio(row, phi, connective="but"):
    """4.5: |post| / (|pre| + |post|), L1 norms of phi (n,) over the two clauses. The connective and
    trailing punctuation are excluded (A24). NaN unless there are one connective and some
    attribution: below 1e-12 it is rounding."""
    words = token_words(row)
    if words.count(connective) != 1:
        return np.nan
    at, end = words.index(connective), len(words)
    while words[end - 1] is None:
        end -= 1
    pre, post = np.abs(phi[:at]).sum(), np.abs(phi[at + 1:end]).sum()
    return post / (pre + post) if pre + post > 1e-12 else np.nan


def expectations(original, without_but, flipped, second):
    """3.7 (4)'s three expectations of a sentence (A25), from each variant's five probabilities.
    1: the predicted polarity is `second`, that of the second clause, 0 or 2.
    2: it is, and with flipped clauses it is the other one's.
    3: p of the predicted class (of the five, as in A14) falls when "but" is deleted."""
    says, says_flipped = polarity_shares(original).argmax(), polarity_shares(flipped).argmax()
    return {"follows_second_clause": says == second,
            "swaps_with_clauses": says == second and says_flipped == 2 - second,
            "less_confident_without_but": without_but[original.argmax()] < original.max()}


def contrast_row(sentence, shap_row, ask):
    """Table 4, of one sentence; with "and" the ratios alone, which show what "but" changes.
    shap_row: its explanation; ask(texts) -> five probabilities each."""
    def ratio(phi):
        return post_but_ratio(shap_row, phi, sentence["connective"])

    row = {key: sentence[key] for key in ("connective", "id", "positive", "negative", "polarity")}
    row |= {"post_but_ratio": ratio(predicted_attributions(shap_row)),
            "equal_credit_ratio": ratio(np.ones(len(shap_row["tokens"]))),
            "polarity_post_but_ratio": ratio(polarity_attributions(shap_row))}
    if sentence["connective"] == "but":
        p = ask([sentence[variant] for variant in CONDITIONS.values()])
        row |= expectations(*p, sentence["polarity"])
        adjective = credit_of(shap_row, {sentence["second"]})
        row |= {"right_label": row["follows_second_clause"],  # A29
                "misses_second_adjective": adjective["misses"],
                "chance_misses": adjective["chance"]}
    return row


def example_rows(sentence, ask):
    """Table 5, of one sentence: the predicted polarity of each variant, and its probability."""
    rows = []
    for condition, variant in CONDITIONS.items():
        p = ask([sentence[variant]])[0]
        shares = polarity_shares(p)
        rows.append({"condition": condition, "text": sentence[variant], "probabilities": p,
                     "polarity": POLARITIES[shares.argmax()], "confidence": shares.max()})
    return rows


# --------------------------------------------------------------------------------------------------
# 3.7 (4): negation, which is promised there and in RQ4, and shown nowhere (A22)

def negation_row(condition, adjective, polarity, ask):
    """A22. right: "not good" is predicted negative, "not bad" is not; out of scope, as without the
    negation. polarity: the adjective's own, 0 or 2."""
    texts = [frame.format(adjective) for frame in NEGATIONS[condition]]
    negated, affirmed = (polarity_shares(p).argmax() for p in ask(texts))
    if condition == "out of scope":
        right = negated == affirmed
    else:
        right = negated == 0 if polarity == 2 else negated != 0
    return {"condition": condition, "id": f"{condition}-{adjective}", "adjective": adjective,
            "right": right}


# --------------------------------------------------------------------------------------------------
# 5.2, 5.3: which words get the credit, and is a right label right for the right reason?

def polarity_words(train):
    """A28, "sentiment-bearing tokens": {word: mean label of its sentences less the mean of all}, if
    half a class or more, of words in 20 training sentences or more. No function words."""
    rows = pd.DataFrame(train)
    rows["word"] = rows["text"].str.lower().str.findall(WORD)
    labels = rows.explode("word").drop_duplicates(["id", "word"]).groupby("word")["label"]
    shift = labels.mean()[labels.size() >= 20] - rows["label"].mean()
    return shift[shift.abs() >= 0.5].drop(FUNCTION_WORDS, errors="ignore").to_dict()


def credit_of(row, words, k=3):
    """What the tokens of these words get in |phi| of the predicted class. share: their part of all
    |phi|; token_share: their part of all tokens, which is what random attributions give on average.
    misses: none of the k largest is on them (A29); chance: the probability that k random tokens
    miss them all. Both are None in a sentence without these words."""
    size = np.abs(predicted_attributions(row))
    member, top = np.array([word in words for word in token_words(row)]), top_k(size, k)
    n, m = len(member), int(member.sum())
    return {"share": size[member].sum() / size.sum() if size.sum() > 1e-12 else np.nan,
            "token_share": m / n, "misses": not member[top].any() if m else None,
            "chance": comb(n - m, len(top)) / comb(n, len(top)) if m else None}


def words_row(row, lexicon):
    """One of the 150 explained sentences: its function words, its sentiment-bearing words."""
    function, polarity = credit_of(row, FUNCTION_WORDS), credit_of(row, lexicon)
    return {"id": row["id"], "function_share": function["share"],
            "function_token_share": function["token_share"], "polarity_share": polarity["share"],
            "polarity_token_share": polarity["token_share"],
            "right_label": row["predicted"] == row["label"],
            "misses_polarity_words": polarity["misses"], "chance_misses": polarity["chance"]}


def pick_cases(bert, kd):
    """3.7 (6), by rule (A26): the smallest margin of BERT's two likeliest classes; and the lowest
    polarity cosine of KD with BERT of those with "but" inside, and of those that KD gets right."""
    margins = pd.Series(np.diff(np.sort([row["probabilities"] for row in bert]))[:, -1])
    cosines = pd.Series([cosine(polarity_attributions(a), polarity_attributions(b))
                         for a, b in zip(bert, kd)])
    has_but = ["but" in WORD.findall(row["text"].lower())[1:] for row in bert]
    kd_right = [row["predicted"] == row["label"] for row in kd]
    rules = {"borderline": margins, "contrastive": cosines[has_but].dropna(),
             "kd_right_far_from_bert": cosines[kd_right].dropna()}
    return [{"rule": rule, "id": bert[values.idxmin()]["id"], "value": values.min()}
            for rule, values in rules.items() if len(values)]


def explain_sentences(name, model, tokenizer, sentences, splits, args):
    """{text: SHAP row}, with SHAP's settings as 03 had them for the 150 sentences of this model."""
    how = read_json(f"{args.artifacts}/explanations/{name}.shap.stamp.json")["arguments"]
    rows = []
    for s, p in zip(sentences, predict_proba(model, tokenizer, [s["text"] for s in sentences])):
        rows.append({"id": s["id"] if s["connective"] == "but" else f"{s['id']}-and", "label": None,
                     "text": s["text"], "probabilities": p, "predicted": p.argmax()})
    inputs = {"weights": weights_digest(args.artifacts, name, splits), "text": digest(splits)}
    stamp = make_stamp(how | {"frame": FRAME}, inputs, model.device)
    reference = mean_embedding(model, tokenizer, splits["train"])
    done = explain_missing(
        Path(args.artifacts) / f"probes/{name}.shap.jsonl", rows,
        lambda row: explain_shap(model, tokenizer, row["text"], reference, how["max_evals"]),
        stamp, args, f"{name}, probes")
    return {row["text"]: row for row in done}


def parse_args(argv=None):
    parser = cli(__doc__, data=True, device=True, overwrite=True, shard=True)
    parser.add_argument("--adjectives", type=positive, default=12, help="first N of each polarity")
    return parser.parse_args(argv)


def main():
    args = parse_args()
    artifacts, device = Path(args.artifacts), pick_device(args.device)
    models = explained_models(artifacts)
    splits, subset = load_splits(args.data), load_subset(artifacts)
    good, bad = POSITIVE[:args.adjectives], NEGATIVE[:args.adjectives]
    contrast = contrast_sentences(good, bad)
    polarities = dict.fromkeys(bad, 0) | dict.fromkeys(good, 2)
    example = contrast_sentences(["joyful"], ["weak"])[1]  # 4.5, Table 5, Figure 9
    to_explain = contrast if example in contrast else [*contrast, example]
    lexicon = polarity_words(splits["train"])
    measures = {"contrast": [], "example": [], "negation": [], "words": [], "cases": []}
    shap = {}
    for family, seed in models:
        name, who = f"{family}_{seed}", {"seed": seed, "model": family}
        shap[name] = load_explanations(artifacts, family, seed, "shap", subset)
        model, tokenizer = load_classifier(artifacts, name, device)
        ask = partial(predict_proba, model, tokenizer)
        shap_rows = explain_sentences(name, model, tokenizer, to_explain, splits, args)
        if args.shard != (0, 1):
            continue
        measures["contrast"] += [who | contrast_row(s, shap_rows[s["text"]], ask) for s in contrast]
        measures["example"] += [who | row for row in example_rows(example, ask)]
        measures["negation"] += [who | negation_row(condition, word, polarities[word], ask)
                                 for condition, word in product(NEGATIONS, polarities)]
        measures["words"] += [who | words_row(row, lexicon) for row in shap[name]]
    if args.shard != (0, 1):
        print("This part is explained; when all are, the command without --shard measures.")
        return args

    first = models[0][1]
    bert, kd = shap.get(f"bert_{first}"), shap.get(f"kd_tinybert_{first}")
    if bert and kd:
        measures["cases"] = [{"seed": first} | case for case in pick_cases(bert, kd)]
    for name, rows in measures.items():
        write_jsonl(artifacts / f"measures/{name}.jsonl", rows)
    write_json(artifacts / "probes/polarity_words.json", lexicon)
    weights = {name: weights_digest(artifacts, name) for name in shap}
    inputs = {"subset": digest(subset), "text": digest(splits), "weights": weights}
    stamp = make_stamp({"adjectives": args.adjectives}, inputs, device)
    write_json(artifacts / "measures/05_probes.stamp.json", stamp)

    table = pd.DataFrame(measures["contrast"]).query("connective == 'but'").infer_objects()
    shown = ["post_but_ratio", "equal_credit_ratio", "follows_second_clause", "swaps_with_clauses"]
    print(table.groupby(["seed", "model"], sort=False)[shown].mean().round(3).to_string())
    return args


if __name__ == "__main__":
    run(main)
