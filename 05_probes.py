"""Sections 3.7 (4) and 4.5: probe sentences, and the words that get the credit (5.2, 5.3).

Reads   the text (--data); subset.jsonl; models/ and explanations/ of one explained model, or of all
Writes  probes/<model>_<seed>.shap.jsonl: the contrastive sentences, explained; a stamp beside it
        probes/sentiment_words.json: words that go with high or low labels in the training text
        to measures/, for each model: contrast.<model>_<seed>.jsonl (Table 4), example (Table 5),
        negation and words; a stamp

    python 05_probes.py --data SetFit/sst5 --artifacts artifacts
    python 05_probes.py --model bert --seed 42

SHAP of the contrastive sentences, 578 a model, takes most of the time: some minutes on a T4 (an
estimate). After an interruption the same command goes on with the next sentence. What follows from
the explanations is computed anew each time.
"""
import re
from functools import partial
from itertools import product
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd

from common import (cli, digest, explain_all, explain_shap, explained_models, load_classifier,
                    load_explanations, load_splits, load_subset, make_stamp, mean_embedding,
                    model_name, model_stamp, pick_device, polarity_attributions, positive,
                    predict_proba, predicted_attributions, read_json, run, stop, top_k, write_json,
                    write_jsonl)

# A20: the paper names excellent, joyful, dull, weak and this frame; the other adjectives are ours
POSITIVE = """excellent joyful brilliant wonderful delightful superb charming great beautiful moving
    funny clever""".split()
NEGATIVE = """dull weak terrible awful boring bad disappointing poor tedious horrible ugly
    stupid""".split()
FRAME = "The movie was {} but the ending was {}."
FLIPPED = {  # A30; {0} and {1} are the adjectives in the order of the sentence that is flipped
    "clauses": "The ending was {1} but the movie was {0}.",
    "adjectives": "The movie was {1} but the ending was {0}."}
CONDITIONS = {"Original": "text", "Without “but”": "without_but", "Flipped clauses": "flipped"}
POLARITIES = ("Neg", "Neutral", "Pos")  # Table 5, A23; here 0, 1, 2, which are not the labels 0..4
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
WORD = re.compile(r"\w+")


# --- 4.5: the contrastive set, Tables 4 and 5

def contrast_sentence(good, bad, second_polarity, flip="clauses"):
    """A sentence and its variants. second_polarity 2: "bad but good"; 0: "good but bad". For
    "joyful", "weak" and 2:

    text         The movie was weak but the ending was joyful.
    without_but  The movie was weak the ending was joyful.       (3.7, A21)
    flipped      The ending was joyful but the movie was weak.   (3.7: "the two clauses swapped")
    with_and     The movie was weak and the ending was joyful.
    """
    first, second = (bad, good) if second_polarity == 2 else (good, bad)
    return {"id": f"{first}-{second}", "and_id": f"{first}-{second}-and", "positive": good,
            "negative": bad, "second_adjective": second, "second_polarity": second_polarity,
            "text": FRAME.format(first, second),
            "without_but": FRAME.replace(" but", "").format(first, second),
            "flipped": FLIPPED[flip].format(first, second),
            "with_and": FRAME.replace("but", "and").format(first, second)}


def three_polarities(p):
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
    trailing punctuation are excluded (A24). NaN where the connective is not there exactly once, or
    where all attributions are zero (below 1e-12: rounding)."""
    words = token_words(row)
    if words.count(connective) != 1:
        return np.nan
    at, end = words.index(connective), len(words)
    while words[end - 1] is None:
        end -= 1
    pre, post = np.abs(phi[:at]).sum(), np.abs(phi[at + 1:end]).sum()
    return post / (pre + post) if pre + post > 1e-12 else np.nan


def credit_of(row, words, k=3):
    """How much |phi| of the predicted class the tokens of these words get. share: their part of all
    |phi|, beside token_share, their part of all tokens. misses: none of the k largest is on them.
    chance: the probability that k random tokens miss them all. The last two are None in a sentence
    without these words."""
    size = np.abs(predicted_attributions(row))
    member = np.array([word in words for word in token_words(row)], dtype=bool)
    top, n, m = top_k(size, k), len(member), int(member.sum())
    return {"share": size[member].sum() / size.sum() if size.sum() > 1e-12 else np.nan,
            "token_share": m / n if n else np.nan,
            "misses": not member[top].any() if m else None,
            "chance": comb(n - m, len(top)) / comb(n, len(top)) if m else None}


def missed_although_right(label_is_right, credit):
    """A29, "right for the wrong reasons": misses and chance of credit_of, null where the label, or
    in the contrastive set the polarity of A23, is wrong, or the sentence has none of the words."""
    misses, chance = (credit["misses"], credit["chance"]) if label_is_right else (None, None)
    return {"label_is_right": label_is_right, "misses": misses, "chance_misses": chance,
            "misses_over_chance": None if misses is None else misses - chance}


def expectations(original, without_but, flipped, second_polarity):
    """3.7 (4)'s three expectations of a sentence (A25), from each variant's five probabilities.
    1: the predicted polarity is that of the second clause, 0 or 2.
    2: 1 holds, and for the flipped sentence the opposite polarity is predicted.
    3: p of the class predicted for the original, one of five (A14), falls when "but" is deleted;
       the drop itself stands beside it. (Table 5 has the three polarities.)"""
    predicted, flipped_to = three_polarities(original).argmax(), three_polarities(flipped).argmax()
    follows = predicted == second_polarity
    drop = original.max() - without_but[original.argmax()]
    return {"follows_second_clause": follows,
            "swaps_with_clauses": follows and flipped_to == 2 - second_polarity,
            "less_confident_without_but": drop > 0, "confidence_drop_without_but": drop}


def contrast_row(sentence, explained, ask):
    """Table 4, of one sentence beside the same sentence with "and". explained: {id: SHAP row};
    ask(texts) -> five probabilities each."""
    but_row, and_row = explained[sentence["id"]], explained[sentence["and_id"]]
    ratio = post_but_ratio(but_row, predicted_attributions(but_row))
    # Equal credit: the ratio if all |phi| were equal, 0.5 where both clauses have as many tokens.
    equal_credit = post_but_ratio(but_row, np.ones(len(but_row["tokens"])))
    polarity_but = post_but_ratio(but_row, polarity_attributions(but_row))
    polarity_and = post_but_ratio(and_row, polarity_attributions(and_row), "and")
    row = {key: sentence[key] for key in ("id", "positive", "negative", "second_polarity")}
    row |= {"post_but_ratio": ratio, "equal_credit_ratio": equal_credit,
            "over_equal_credit": ratio - equal_credit, "polarity_post_but_ratio": polarity_but,
            "polarity_post_and_ratio": polarity_and, "but_minus_and": polarity_but - polarity_and}
    original, without_but, flipped = ask([sentence[variant] for variant in CONDITIONS.values()])
    row |= expectations(original, without_but, flipped, sentence["second_polarity"])
    credit = credit_of(but_row, {sentence["second_adjective"]})
    return row | missed_although_right(row["follows_second_clause"], credit)


def example_rows(sentence, ask):
    """Table 5, of one sentence: the predicted polarity of each variant, and its probability."""
    rows = []
    for condition, variant in CONDITIONS.items():
        p = ask([sentence[variant]])[0]
        shares = three_polarities(p)
        rows.append({"condition": condition, "text": sentence[variant], "probabilities": p,
                     "polarity": POLARITIES[shares.argmax()], "confidence": shares.max()})
    return rows


# --- 3.7 (4): negation, which is promised there and in RQ4, and shown nowhere (A22)

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
        else:
            row[condition] = negated == 0 if polarity == 2 else negated != 0
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
    function, sentiment = credit_of(row, FUNCTION_WORDS), credit_of(row, lexicon)
    shares = {"id": row["id"], "function_share": function["share"],
              "function_token_share": function["token_share"],
              "sentiment_share": sentiment["share"],
              "sentiment_token_share": sentiment["token_share"]}
    return shares | missed_although_right(row["predicted"] == row["label"], sentiment)


# --- One model at a time

def explain_sentences(name, model, tokenizer, sentences, splits, args):
    """{id: SHAP row} of the sentences with "but" and with "and", by the settings of the 150."""
    texts = {sentence["id"]: sentence["text"] for sentence in sentences}
    texts |= {sentence["and_id"]: sentence["with_and"] for sentence in sentences}
    p = predict_proba(model, tokenizer, list(texts.values()))
    rows = [{"id": key, "label": None, "text": text, "probabilities": q, "predicted": q.argmax()}
            for (key, text), q in zip(texts.items(), p)]
    of_03 = read_json(f"{args.artifacts}/explanations/{name}.shap.stamp.json")["arguments"]
    settings = {"max_evals": of_03["max_evals"], "frame": FRAME}
    weights = model_stamp(args.artifacts, name, splits)["weights"]
    inputs = {"weights": weights, "text": digest(splits)}
    reference = mean_embedding(model, tokenizer, splits["train"])
    done = explain_all(
        Path(args.artifacts) / f"probes/{name}.shap.jsonl", rows,
        lambda row: explain_shap(model, tokenizer, row["text"], reference, settings["max_evals"]),
        make_stamp(settings, inputs, model.device), args.overwrite)
    return {row["id"]: row for row in done}


def measure_model(name, explained, splits, lexicon, device, args):
    """{measure: rows} of a model. explained: its SHAP rows of the 150 sentences."""
    good, bad = POSITIVE[:args.adjectives], NEGATIVE[:args.adjectives]
    contrast = [contrast_sentence(*pair, args.flip) for pair in product(good, bad, (0, 2))]
    example = contrast_sentence("joyful", "weak", 2, args.flip)  # 4.5, Table 5, Figure 9
    model, tokenizer = load_classifier(args.artifacts, name, device)
    probes = explain_sentences(name, model, tokenizer, [*contrast, example], splits, args)
    ask = partial(predict_proba, model, tokenizer)
    polarities = dict.fromkeys(bad, 0) | dict.fromkeys(good, 2)
    return {"contrast": [contrast_row(sentence, probes, ask) for sentence in contrast],
            "example": example_rows(example, ask),
            "negation": [negation_row(adjective, polarity, ask)
                         for adjective, polarity in polarities.items()],
            "words": [words_row(row, lexicon) for row in explained]}


def parse_args(argv=None):
    parser = cli(__doc__, "--data", "--device", "--overwrite", "--seed")
    parser.add_argument("--model", type=model_name, help="only this model, which 03 explained")
    parser.add_argument("--adjectives", type=positive, default=12, help="first N of each polarity")
    parser.add_argument("--flip", choices=FLIPPED, default="clauses",
                        help="what changes places in the flipped sentence (A30)")
    return parser.parse_args(argv)


def main(args):
    artifacts, device = Path(args.artifacts), pick_device(args.device)
    models = [pair for pair in explained_models(artifacts)
              if args.model is None or pair == (args.model, args.seed)]
    if not models:
        stop(f"{args.model}_{args.seed} has no SHAP explanations in {artifacts}; 03_explain.py "
             f"--model {args.model} --seed {args.seed} makes them")
    splits, subset = load_splits(args.data), load_subset(artifacts)
    lexicon = sentiment_words(splits["train"])
    write_json(artifacts / "probes/sentiment_words.json", lexicon)
    contrast = []
    for model, seed in models:
        name, who = f"{model}_{seed}", {"seed": seed, "model": model}
        inputs = {"subset": digest(subset), "text": digest(splits),
                  "weights": model_stamp(artifacts, name, splits)["weights"]}
        explained = load_explanations(artifacts, model, seed, "shap", subset)
        measured = measure_model(name, explained, splits, lexicon, device, args)
        for measure, rows in measured.items():
            write_jsonl(artifacts / f"measures/{measure}.{name}.jsonl", [who | row for row in rows])
        stamp = make_stamp({"adjectives": args.adjectives, "flip": args.flip}, inputs, device)
        write_json(artifacts / f"measures/05_probes.{name}.stamp.json", stamp)
        contrast += [who | row for row in measured["contrast"]]

    shown = ["post_but_ratio", "equal_credit_ratio", "follows_second_clause", "swaps_with_clauses"]
    table = pd.DataFrame(contrast).groupby(["seed", "model"], sort=False)[shown].mean()
    print(table.to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    run(main, parse_args())
