"""Sections 3.7 (4, 6) and 4.5: contrastive and negated sentences made for the purpose, and case studies picked by rule.

Reads   models/<name>/ ; the text (--data: SHAP's background); subset.jsonl, explanations/<name>.shap.jsonl (the cases)
Writes  probes/contrast.jsonl, probes/negation.jsonl : the sentences, with ids;
        probes/<name>.shap.jsonl : every probe explained; *.stamp.json beside it;
        tables/table4.json (post-but ratio, expectations), table5.json (the example, Figure 9), negation.json, cases.json

    python 05_probes.py
    python 05_probes.py --adjectives 4 --controls bert_seed43

About 2 minutes on a T4 (an estimate, not measured). Run again after an interruption, it goes on with the next sentence.
"""
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from common import (MODELS, add_shap_flags, append_jsonl, cli, cosine, digest, explain_rows, explain_shap, load_classifier,
                    load_explanations, load_splits, load_subset, make_stamp, model_folder, model_name, own_class,
                    pick_device, positive, predict_proba, read_json, run, shap_reference, summary, write_json)

# A20: the paper names four adjectives (excellent, dull, weak, joyful) and one frame; the other twenty are ours.
POSITIVE = ("excellent", "joyful", "brilliant", "wonderful", "delightful", "superb", "charming", "great", "beautiful",
            "moving", "funny", "clever")
NEGATIVE = ("dull", "weak", "terrible", "awful", "boring", "bad", "disappointing", "poor", "tedious", "horrible", "ugly",
            "stupid")
EXAMPLE = "weak-joyful"  # 4.5, Table 5: "The movie was weak but the ending was joyful."
POLARITIES = ("negative", "neutral", "positive")


def contrastive_set(n):
    """4.5: "pairing positive and negative adjectives in both orders". n adjectives a polarity -> 2 n^2 sentences, each with
    its ablated variant (A21: "but" is deleted, the rest stands) and its flipped one. polarity: the second clause's, 0 or 2."""
    rows = []
    for good, bad in product(POSITIVE[:n], NEGATIVE[:n]):
        for first, second, polarity in ((good, bad, 0), (bad, good, 2)):
            rows.append({"id": f"{first}-{second}", "text": f"The movie was {first} but the ending was {second}.",
                         "without_but": f"The movie was {first} the ending was {second}.",
                         "flipped": f"The movie was {second} but the ending was {first}.", "polarity": polarity})
    return rows


def negation_set(n):
    """RQ4 and 3.7 (4) promise negation and show nothing (A22): an adjective, and the same with "not" before it."""
    return [{"id": f"not-{adjective}", "text": f"The movie was not {adjective}.", "affirmed": f"The movie was {adjective}.",
             "polarity": polarity} for polarity, adjectives in ((2, POSITIVE), (0, NEGATIVE)) for adjective in adjectives[:n]]


def polarity(probabilities):
    """(n, 5) -> (n, 3): negative, neutral, positive (A23: the sums of the classes, 0 + 1, 2, 3 + 4)."""
    p = np.asarray(probabilities)
    return np.stack([p[..., 0] + p[..., 1], p[..., 2], p[..., 3] + p[..., 4]], -1)


def post_but_ratio(tokens, phi):
    """4.5: |post| / (|pre| + |post|) with the L1 norm of phi; "but" itself and the final stop belong to neither (A24).

    Also what attributions that are all alike would give, which is the ratio's chance level, and not 0.5. NaN without
    exactly one "but", or with no attribution at all.
    """
    if tokens.count("but") != 1:
        return np.nan, np.nan
    at, end = tokens.index("but"), len(tokens) - (tokens[-1] == ".")
    pre, post = np.abs(phi[:at]).sum(), np.abs(phi[at + 1:end]).sum()
    return (post / (pre + post) if pre + post > 0 else np.nan), (end - at - 1) / (end - 1)


def expectations(original, without_but, flipped, second):
    """3.7 (4)'s three expectations, each a 0/1 array over sentences. Polarity probabilities (n, 3); second (n,): 0 or 2.

    1 the prediction is the second clause's polarity; 2 it is that, and becomes the other one when the clauses are swapped;
    3 the second clause's probability falls when "but" goes.
    """
    rows = np.arange(len(second))
    follows = original.argmax(1) == second
    return {"follows_second_clause": follows, "swaps_with_clauses": follows & (flipped.argmax(1) == 2 - second),
            "less_confident_without_but": without_but[rows, second] < original[rows, second]}


def contrast_row(name, explained, ask):
    """Table 4 for one model, and the expectations' rates over the whole set (A25)."""
    ratios, uniform = zip(*(post_but_ratio(row["tokens"], own_class(row)) for row in explained))
    p = {what: polarity(ask([row[what] for row in explained])) for what in ("text", "without_but", "flipped")}
    second = np.array([row["polarity"] for row in explained])
    return {"model": name, "post_but_ratio": summary(ratios), "uniform_ratio": summary(uniform),
            "ratio_above_half": summary([np.nan if np.isnan(r) else r > 0.5 for r in ratios]),
            **{k: summary(v) for k, v in expectations(p["text"], p["without_but"], p["flipped"], second).items()}}


def example_row(name, row, ask):
    """Table 5 for one model, and Figure 9's attributions."""
    conditions = {}
    for what, key in (("Original", "text"), ("Without “but”", "without_but"), ("Flipped clauses", "flipped")):
        probabilities = ask([row[key]])[0]
        three = polarity(probabilities)
        conditions[what] = {"text": row[key], "polarity": POLARITIES[three.argmax()], "confidence": three.max(),
                            "probabilities": probabilities}
    return {"model": name, "conditions": conditions, "tokens": row["tokens"], "phi": own_class(row),
            "predicted": row["predicted"]}


def negation_row(name, explained, ask):
    """How often "not" turns the polarity, how much of it it takes away, and the share of |phi| that it gets."""
    plain, negated = (polarity(ask([row[what] for row in explained])) for what in ("affirmed", "text"))
    rows, sign = np.arange(len(explained)), np.array([row["polarity"] for row in explained])
    share = [np.abs(own_class(row)[row["tokens"].index("not")]) / np.abs(own_class(row)).sum() for row in explained]
    return {"model": name, "affirmed_right": summary(plain.argmax(1) == sign),
            "negated_is_other_polarity": summary(negated.argmax(1) == 2 - sign),
            "probability_lost": summary(plain[rows, sign] - negated[rows, sign]), "share_of_not": summary(share)}


def pick_cases(shap):
    """3.7 (6), by rule (A26): the smallest margin of BERT's two likeliest classes; of the sentences with "but" inside, and of
    those KD-TinyBERT gets right, the one whose attributions lie furthest from BERT's. shap: name -> rows of the subset."""
    bert, kd = shap["bert"], shap["kd_tinybert"]

    def margin(i):
        return float(np.diff(np.sort(bert[i]["probabilities"])[-2:])[0])

    def direction(i):
        return cosine(own_class(bert[i]), own_class(kd[i]))

    rules = {"contrastive": ([i for i, row in enumerate(bert) if "but" in row["tokens"][1:]], direction),
             "borderline": (range(len(bert)), margin),
             "kd_right_far_from_bert": ([i for i, row in enumerate(kd) if row["predicted"] == row["label"]], direction)}
    cases = []
    for rule, (candidates, key) in rules.items():
        for i in sorted(candidates, key=key)[:1]:
            cases.append({"rule": rule, "id": bert[i]["id"], "text": bert[i]["text"], "label": bert[i]["label"],
                          "tokens": bert[i]["tokens"], "cosine_kd_bert": direction(i), "margin_bert": margin(i),
                          "models": {name: {"predicted": rows[i]["predicted"], "probabilities": rows[i]["probabilities"],
                                            "phi": own_class(rows[i])} for name, rows in shap.items()}})
    return cases


def explain_probes(name, ask, model, tokenizer, rows, train, weights, args):
    """SHAP of every probe for one model, kept in probes/<name>.shap.jsonl. Returns {id: row}."""
    rows = [row | {"probabilities": p.tolist(), "predicted": int(p.argmax())}
            for row, p in zip(rows, ask([row["text"] for row in rows]))]
    with shap_reference(model, tokenizer, train, args) as background:
        stamp = make_stamp(args, model.device, ("controls", "adjectives"), weights=weights, background=background,
                           probes=digest([row["text"] for row in rows]))
        explained = explain_rows(
            f"{args.artifacts}/probes/{name}.shap.jsonl", rows,
            lambda row: explain_shap(model, tokenizer, row["text"], args.max_evals, args.seed),
            stamp, args.overwrite, f"{name}, probes")
    return {row["id"]: row for row in explained}


def parse_args(argv=None):
    parser = cli(__doc__, data=True, device=True, overwrite=True)
    parser.add_argument("--adjectives", type=positive, default=len(POSITIVE), help="of each polarity, at most the default")
    parser.add_argument("--controls", type=model_name, nargs="*", default=[], metavar="NAME",
                        help="further models to put the probes to, such as bert_seed43")
    add_shap_flags(parser)
    return parser.parse_args(argv)


def main():
    args = parse_args()
    device = pick_device(args.device)
    artifacts, names = Path(args.artifacts), [*MODELS, *args.controls]
    contrast, negation = contrastive_set(args.adjectives), negation_set(args.adjectives)
    example = next(row for row in contrastive_set(2) if row["id"] == EXAMPLE)
    splits = load_splits(args.data)
    subset = load_subset(artifacts)
    cases = {name: load_explanations(artifacts, name, "shap", subset)[0] for name in MODELS}
    for kind, rows in (("contrast", contrast), ("negation", negation)):
        (artifacts / "probes" / f"{kind}.jsonl").unlink(missing_ok=True)
        for row in rows:
            append_jsonl(artifacts / "probes" / f"{kind}.jsonl", row)

    probes = {row["id"]: row for row in [*contrast, *negation, example]}  # the example may be one of the set
    tables, weights = {"table4": [], "table5": [], "negation": []}, {}
    for name in names:
        weights[name] = read_json(model_folder(artifacts, name) / "stamp.json")["weights"]
        model, tokenizer = load_classifier(artifacts, name, device)
        ask = partial(predict_proba, model, tokenizer)
        explained = explain_probes(name, ask, model, tokenizer, list(probes.values()), splits["train"], weights[name], args)
        tables["table4"].append(contrast_row(name, [explained[row["id"]] for row in contrast], ask))
        tables["table5"].append(example_row(name, explained[EXAMPLE], ask))
        tables["negation"].append(negation_row(name, [explained[row["id"]] for row in negation], ask))
    tables["cases"] = pick_cases(cases)

    stamp = make_stamp(args, device, **weights)
    for table, rows in tables.items():
        write_json(artifacts / "tables" / f"{table}.json", {"stamp": stamp, "rows": rows})
        print(f"wrote tables/{table}.json")
    return args


if __name__ == "__main__":
    run(main)
