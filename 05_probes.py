"""Sections 3.7 (4) and 4.5: probe sentences, and the words that get the credit (5.2, 5.3).

Reads   the text (--data); subset.jsonl; models/<model>_<seed>/; its SHAP explanations; settings/
Writes  probes/<model>_<seed>.shap.jsonl: the contrastive sentences, explained
        probes/sentiment_words.json: words that go with high or low labels in the training text
        measures/<measure>.<model>_<seed>.jsonl: contrast (Table 4), example (Table 5), negation
        and words; settings/probes.json: what all later calls must agree with
Deletes measures/, if the contrastive sentences are explained anew with other settings

    python 05_probes.py --data SetFit/sst5 --artifacts artifacts
    python 05_probes.py --model bert --seed 42

Without --model it probes all models of all seeds that 03 explained. After an interruption the same
command goes on with the next contrastive sentence. The measures are computed anew each time.
"""
import re
from functools import partial
from itertools import product
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd

from common import (cli, device_and_text, explain_all, explain_shap, explained_models,
                    load_classifier, load_explanations, load_subset, mean_embedding, pin_settings,
                    polarity_attributions, positive_int, predict_proba, predicted_attributions,
                    read_json, run, top_k, write_json, write_jsonl)

# A20: the paper names excellent, joyful, dull, weak and this frame; the other adjectives are ours
POSITIVE = """excellent joyful brilliant wonderful delightful superb charming great beautiful moving
    funny clever""".split()
NEGATIVE = """dull weak terrible awful boring bad disappointing poor tedious horrible ugly
    stupid""".split()
FRAME = "The movie was {} but the ending was {}."
FLIPPED = "The ending was {1} but the movie was {0}."  # A30: the clauses change places
FORMS = {"Original": "text", "Without “but”": "without_but", "Flipped clauses": "flipped"}
NEGATIVE_POLARITY, POSITIVE_POLARITY = 0, 2  # of the three of A23, which are not the labels 0..4
POLARITIES = ("Neg", "Neutral", "Pos")  # their names in Table 5
NEGATIONS = {  # A22
    "not": "The movie was not {}.", "never": "The movie was never {}.",
    "n't": "The movie wasn't {}.", "hardly": "The movie was hardly {}.",
    "out of scope": "The movie was {} and I did not see it alone."}
NOT_NEGATED = "The movie was {} and I saw it alone."  # what "out of scope" is compared with
# A27: articles, prepositions, conjunctions, auxiliaries (also of "it's": s), pronouns; no negations
FUNCTION_WORDS = set("""
    a an the about across after against among around as at before behind between by during for from
    in inside into of off on onto out over since than through to toward under until up upon via with
    within and or but so yet because if although though when where whether while am is are was were
    be been being have has had having do does did can could may might must shall should will would s
    d ll m re ve i me my you your he him his she her it its we us our they them their who whom whose
    which what that this these those there""".split())
WORD = re.compile(r"\w+")  # here words are compared in lower case


# --- 4.5: the contrastive set, Tables 4 and 5

def contrast_sentence(good, bad, second_polarity):
    """A sentence and its variants. second_polarity 2: "bad but good"; 0: "good but bad". For
    "joyful", "weak" and 2:

    text         The movie was weak but the ending was joyful.
    without_but  The movie was weak the ending was joyful.       (3.7, A21)
    flipped      The ending was joyful but the movie was weak.   (3.7: "the two clauses swapped")
    with_and     The movie was weak and the ending was joyful.
    """
    first, second = (bad, good) if second_polarity == POSITIVE_POLARITY else (good, bad)
    return {"id": f"{first}-{second}", "and_id": f"{first}-{second}-and", "positive": good,
            "negative": bad, "second_adjective": second, "second_polarity": second_polarity,
            "text": FRAME.format(first, second),
            "without_but": FRAME.replace(" but", "").format(first, second),
            "flipped": FLIPPED.format(first, second),
            "with_and": FRAME.replace("but", "and").format(first, second)}


def three_polarities(p):
    """Five probabilities -> three: negative, neutral, positive (A23: classes 0 + 1, 2, 3 + 4)."""
    return np.array([p[0] + p[1], p[2], p[3] + p[4]])


def token_words(row):
    """The lower-cased word that each of the n tokens is a piece of; None for punctuation."""
    word_at = [None] * (len(row["text"]) + 1)  # a token may stand for nothing, at the end
    for word in WORD.finditer(row["text"]):
        word_at[word.start():word.end()] = [word.group().lower()] * len(word.group())
    return [word_at[start] for start, _ in row["spans"]]


def post_but_ratio(row, phi, connective="but"):
    """4.5: |post| / (|pre| + |post|), L1 norms of phi (n,) over the two clauses. The connective and
    trailing punctuation are excluded (A24). NaN where the connective is not there exactly once, or
    where all attributions are zero (below 1e-12: rounding)."""
    words = token_words(row)
    pieces = words.count(connective)
    if not pieces or WORD.findall(row["text"].lower()).count(connective) != 1:
        return np.nan
    at, end = words.index(connective), len(words)
    while words[end - 1] is None:
        end -= 1
    pre, post = np.abs(phi[:at]).sum(), np.abs(phi[at + pieces:end]).sum()
    return post / (pre + post) if pre + post > 1e-12 else np.nan


def credit_of(row, words, k=3):
    """How much |phi| of the predicted class the tokens of these words get. share: their part of all
    |phi|, beside token_share, their part of all tokens. not_in_top: none of the k largest is on
    them, beside chance_not_in_top, the probability that k random tokens miss them all; these
    two are None in a sentence without these words."""
    size = np.abs(predicted_attributions(row))
    member = np.array([word in words for word in token_words(row)], dtype=bool)
    top, n, m = top_k(size, k), len(member), int(member.sum())
    return {"share": size[member].sum() / size.sum() if size.sum() > 1e-12 else np.nan,
            "token_share": m / n if n else np.nan,
            "not_in_top": not member[top].any() if m else None,
            "chance_not_in_top": comb(n - m, len(top)) / comb(n, len(top)) if m else None}


def wrong_reason(is_right, cue):
    """A29, "the correct label ... for the wrong reasons" (abstract), as three columns: whether none
    of the top 3 is on the words that should decide, its chance, and the difference. cue:
    credit_of() these words. All are None where the label (in the contrastive set the polarity of
    A23) is wrong, or the sentence has none of the words."""
    missed, chance = cue["not_in_top"], cue["chance_not_in_top"]
    if not is_right or missed is None:
        missed = chance = None
    return {"cue_not_in_top3": missed, "chance_cue_not_in_top3": chance,
            "cue_not_in_top3_over_chance": None if missed is None else missed - chance}


def expectations(original, without_but, flipped, second_polarity):
    """3.7 (4)'s three expectations of a sentence (A25), from each variant's five probabilities.
    1: the predicted polarity is that of the second clause, 0 or 2.
    2: 1 holds, and for the flipped sentence the opposite polarity is predicted.
    3: the probability of the polarity that is predicted for the original, as in Table 5 (A23),
       falls when "but" is deleted; how far stands beside it."""
    original, without_but, flipped = map(three_polarities, (original, without_but, flipped))
    predicted = original.argmax()
    follows = predicted == second_polarity
    drop = original[predicted] - without_but[predicted]
    return {"follows_second_clause": follows,
            "swaps_with_clauses": follows and flipped.argmax() == 2 - second_polarity,
            "less_confident_without_but": drop > 0, "confidence_drop_without_but": drop}


def contrast_row(sentence, explained, ask):
    """Table 4, of one sentence beside the same sentence with "and". explained: {id: SHAP row};
    ask(texts) -> five probabilities each."""
    but_row, and_row = explained[sentence["id"]], explained[sentence["and_id"]]
    ratio = post_but_ratio(but_row, predicted_attributions(but_row))
    # If all |phi| were equal: tokens of the second clause / tokens of both.
    uniform_ratio = post_but_ratio(but_row, np.ones(len(but_row["tokens"])))
    polarity_but = post_but_ratio(but_row, polarity_attributions(but_row))
    polarity_and = post_but_ratio(and_row, polarity_attributions(and_row), "and")
    original, without_but, flipped = ask([sentence[variant] for variant in FORMS.values()])
    expected = expectations(original, without_but, flipped, sentence["second_polarity"])
    cue = credit_of(but_row, {sentence["second_adjective"]})
    return {**{key: sentence[key] for key in ("id", "positive", "negative", "second_polarity")},
            "post_but_ratio": ratio, "uniform_ratio": uniform_ratio,
            "ratio_over_uniform": ratio - uniform_ratio,
            "but_minus_and": polarity_but - polarity_and,
            **expected, **wrong_reason(expected["follows_second_clause"], cue)}


def example_rows(sentence, ask):
    """Table 5, of one sentence: the predicted polarity of each variant, and its probability."""
    three = [three_polarities(p) for p in ask([sentence[key] for key in FORMS.values()])]
    return [{"condition": condition, "polarity": POLARITIES[p.argmax()], "confidence": p.max()}
            for condition, p in zip(FORMS, three)]


# --- 3.7 (4): negation, which is promised there and in the introduction (4), shown nowhere (A22)

def negation_row(adjective, polarity, ask):
    """Whether the prediction is right in each condition of NEGATIONS (A22). polarity: the
    adjective's own, 0 or 2. A negated positive adjective ("not good") has to be predicted negative,
    a negated negative one ("not bad") anything but negative. Out of scope something else is
    negated: the adjective's own polarity has to be predicted, for this sentence and for the one
    without the negation."""
    texts = [frame.format(adjective) for frame in [*NEGATIONS.values(), NOT_NEGATED]]
    *predicted, not_negated = [three_polarities(p).argmax() for p in ask(texts)]
    row = {"adjective": adjective}
    for condition, negated in zip(NEGATIONS, predicted):
        if condition == "out of scope":
            row[condition] = negated == not_negated == polarity
        elif polarity == POSITIVE_POLARITY:
            row[condition] = negated == NEGATIVE_POLARITY
        else:
            row[condition] = negated != NEGATIVE_POLARITY
    return row


# --- 5.2, 5.3: which words get the credit, and is a right label right for the right reason?

def sentiment_words(train):
    """A28, "sentiment-bearing tokens": {word: mean label of its sentences minus that of all}. A
    word is kept if it occurs in at least 20 training sentences, if this difference is at least half
    a class, and if it is not a function word."""
    rows = pd.DataFrame(train)
    rows["word"] = rows["text"].str.lower().str.findall(WORD)
    labels = rows.explode("word").drop_duplicates(["id", "word"]).groupby("word")["label"]
    shift = labels.mean()[labels.size() >= 20] - rows["label"].mean()
    return shift[shift.abs() >= 0.5].drop(FUNCTION_WORDS, errors="ignore").to_dict()


def words_row(row, lexicon):
    """One of the 150 explained sentences: its function words (A27), its sentiment words (A28)."""
    function = credit_of(row, FUNCTION_WORDS)
    sentiment = credit_of(row, lexicon)
    return {"id": row["id"], "function_share": function["share"],
            "function_token_share": function["token_share"],
            "sentiment_share": sentiment["share"],
            "sentiment_token_share": sentiment["token_share"],
            **wrong_reason(row["predicted"] == row["label"], sentiment)}


# --- One model at a time

def probe_model(name, explained, train, lexicon, max_evals, device, args):
    """{measure: rows} of a model. explained: its SHAP rows of the 150 sentences."""
    good, bad = POSITIVE[:args.adjectives], NEGATIVE[:args.adjectives]
    polarities = (NEGATIVE_POLARITY, POSITIVE_POLARITY)
    contrast = [contrast_sentence(*three) for three in product(good, bad, polarities)]
    example = contrast_sentence("joyful", "weak", POSITIVE_POLARITY)  # 4.5, Table 5, Figure 9
    texts = {sentence["id"]: sentence["text"] for sentence in [*contrast, example]}
    texts |= {sentence["and_id"]: sentence["with_and"] for sentence in [*contrast, example]}
    model, tokenizer = load_classifier(args.artifacts, name, device)
    ask = partial(predict_proba, model, tokenizer)
    reference = mean_embedding(model, tokenizer, train)
    rows = [{"id": key, "text": text, "probabilities": p, "predicted": p.argmax()}
            for (key, text), p in zip(texts.items(), ask(list(texts.values())))]
    path = Path(args.artifacts) / f"probes/{name}.shap.jsonl"
    probes = explain_all(path, rows, lambda row: explain_shap(
        model, tokenizer, row["text"], reference, max_evals))
    polarity_of = dict.fromkeys(bad, NEGATIVE_POLARITY) | dict.fromkeys(good, POSITIVE_POLARITY)
    return {"contrast": [contrast_row(sentence, probes, ask) for sentence in contrast],
            "example": example_rows(example, ask),
            "negation": [negation_row(adjective, polarity, ask)
                         for adjective, polarity in polarity_of.items()],
            "words": [words_row(row, lexicon) for row in explained]}


def parse_args(argv=None):
    parser = cli(__doc__, "--data", "--device", "--seed", "--model")
    parser.add_argument("--adjectives", type=positive_int, default=12,
                        help="first N of each polarity (A20)")
    return parser.parse_args(argv)


def main(args):
    (device, splits), artifacts = device_and_text(args), Path(args.artifacts)
    subset = load_subset(artifacts)
    models = explained_models(args, subset)
    # The contrastive sentences are explained as the 150 were.
    max_evals = read_json(artifacts / "settings/shap.json")["max_evals"]
    settings = {"adjectives": args.adjectives, "max_evals": max_evals, "frame": FRAME}
    pin_settings(artifacts, "probes", settings, ["probes/*.shap.jsonl"])
    lexicon = sentiment_words(splits["train"])
    write_json(artifacts / "probes/sentiment_words.json", lexicon)
    for model, seed in models:
        name, keys = f"{model}_{seed}", {"seed": seed, "model": model}
        explained = load_explanations(artifacts, model, seed, "shap", subset)
        measures = probe_model(name, explained, splits["train"], lexicon, max_evals, device, args)
        for measure, rows in measures.items():  # words last: where it is there, all are
            write_jsonl(artifacts / f"measures/{measure}.{name}.jsonl",
                        [keys | row for row in rows])
        print(f"{name}: measured", flush=True)


if __name__ == "__main__":
    run(main, parse_args())
