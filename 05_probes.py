"""Sections 3.7 (4, 6) and 4.5: sentences made to tell the right reason from a lucky label, and cases picked by rule.

Reads   models/<name>/ ; the text (--data); subset.jsonl, explanations/<name>.shap.jsonl
Writes  probes/contrast.jsonl, found.jsonl, negation.jsonl, polarity_words.jsonl : the sets, with ids;
        probes/<name>.shap.jsonl : what was explained of them; *.stamp.json beside it;
        tables/table4.json, table5.json (and Figure 9), cases.json; beyond the paper contrast, contrast_comparisons, credit,
        found, negation, words, reasons, reasons_paired.json

    python 05_probes.py
    python 05_probes.py --adjectives 4 --found 20 --frames my_frames.json --controls bert_seed43

Some minutes on a T4 (an estimate, not measured). Run again after an interruption, it goes on with the next ten sentences.
"""
import re
from collections import defaultdict
from functools import partial
from itertools import combinations, product
from math import comb, erfc
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from common import (MODELS, PAIRS, SEED, SHAP_TOGETHER, add_shap_flags, claim, cli, compare, cosine, differences, digest, explain_rows,
                    explain_shap, holm, load_classifier, load_explanations, load_splits, load_subset, make_stamp, model_name, own_class, paired,
                    paired_rates, pick_device, positive, predict_proba, rank_of, read_json, run, sd_ratio, shap_reference, stop,
                    summary, token_ids, top_k, weights_of, write_json, write_jsonl)

# A20: the paper names four adjectives (excellent, dull, weak, joyful) and one frame; the other twenty are ours.
POSITIVE = "excellent joyful brilliant wonderful delightful superb charming great beautiful moving funny clever".split()
NEGATIVE = "dull weak terrible awful boring bad disappointing poor tedious horrible ugly stupid".split()
FRAME = "The movie was {} but the ending was {}."
FRAMES = (  # A30: other noun pairs; a short and a long clause, on either side
    "The acting was {} but the script was {}.", "The music was {} but the story was {}.",
    "The first half was {} but the second half was {}.", "It was {} but the ending was {}.",
    "The film that we saw last night was {} but the ending was {}.",
    "The movie was {} but the scene that everyone had been waiting for was {}.")
CONNECTIVES = {"but": ("text", " but "), "none": ("without_but", " "), "and": ("with_and", " and "),
               "although": ("with_although", " although "), "comma": ("with_comma", ", ")}
WORD = re.compile(r"\w+")
POLARITIES = ("negative", "neutral", "positive")
ZERO = 1e-12  # attributions below this are rounding


# ---------------------------------------------------------------------------------------------------------------------
# 4.5: the paper's own probe, Tables 4 and 5

def contrastive_set(good_words, bad_words, frames):
    """4.5: "pairing positive and negative adjectives in both orders". n adjectives a polarity -> 2 n^2 sentences a frame, each
    with its ablated variant (A21: "but" is deleted, the rest stands), its flipped one, and other words in place of "but".
    polarity: the second clause's, 0 or 2. Rows stand in pairs, each the other one flipped. The first frame's ids are bare."""
    rows = []
    for number, frame in enumerate(frames, 1):
        for good, bad in product(good_words, bad_words):
            for first, second, polarity in ((good, bad, 0), (bad, good, 2)):
                rows.append({"id": (f"frame{number}-" if number > 1 else "") + f"{first}-{second}",
                             **{key: frame.replace(" but ", joint).format(first, second) for key, joint in CONNECTIVES.values()},
                             "flipped": frame.format(second, first), "first": first, "second": second,
                             "polarity": polarity, "frame": frame})
    return rows


def polarity(probabilities):
    """(n, 5) -> (n, 3): negative, neutral, positive (A23: the sums of the classes, 0 + 1, 2, 3 + 4)."""
    p = np.asarray(probabilities)
    return np.stack([p[..., 0] + p[..., 1], p[..., 2], p[..., 3] + p[..., 4]], -1)


def clauses(tokens, connective="but"):
    """(at, end): the first clause is tokens[:at], the second tokens[at + 1:end]; the connective itself and the final stop
    belong to neither (A24)."""
    return tokens.index(connective), len(tokens) - (tokens[-1] in (".", "!", "?"))


def post_but_ratio(tokens, phi, connective="but"):
    """4.5: |post| / (|pre| + |post|) with the L1 norm of phi. Also what attributions that are all alike would give, which is
    the ratio's chance level, and not 0.5. NaN without exactly one "but", or with no attribution at all."""
    if tokens.count(connective) != 1:
        return np.nan, np.nan
    at, end = clauses(tokens, connective)
    pre, post = np.abs(phi[:at]).sum(), np.abs(phi[at + 1:end]).sum()
    return (post / (pre + post) if pre + post > ZERO else np.nan), (end - at - 1) / (end - 1)


def expectations(original, without_but, flipped, second):
    """3.7 (4)'s three expectations, each a 0/1 array over sentences. Polarity probabilities (n, 3); second (n,): 0 or 2.
    1 the prediction is the second clause's polarity; 2 it is that, and becomes the other one when the clauses are swapped;
    3 the second clause's probability falls when "but" goes."""
    rows = np.arange(len(second))
    follows = original.argmax(1) == second
    return {"follows_second_clause": follows, "swaps_with_clauses": follows & (flipped.argmax(1) == 2 - second),
            "less_confident_without_but": without_but[rows, second] < original[rows, second]}


def contrast_measures(explained, ask):
    """Table 4 and the expectations (A25), each an array over the sentences of the set."""
    r, uniform = np.array([post_but_ratio(row["tokens"], own_class(row)) for row in explained]).T
    p = [polarity(ask([row[what] for row in explained])) for what in ("text", "without_but", "flipped")]
    return {"post_but_ratio": r, "uniform_ratio": uniform, "ratio_above_half": np.where(np.isnan(r), r, r > 0.5),
            **expectations(*p, np.array([row["polarity"] for row in explained]))}


def example_row(name, row, ask):
    """Table 5 for one model, and Figure 9's attributions."""
    conditions = {}
    for what, key in (("Original", "text"), ("Without “but”", "without_but"), ("Flipped clauses", "flipped")):
        p = ask([row[key]])[0]
        conditions[what] = {"text": row[key], "polarity": POLARITIES[polarity(p).argmax()], "confidence": polarity(p).max(),
                            "probabilities": p}
    return {"model": name, "conditions": conditions, "phi": own_class(row), **{key: row[key] for key in ("tokens", "predicted")}}


# ---------------------------------------------------------------------------------------------------------------------
# 3.7 (4), wider: is it "but" that makes the rule, whose credit is it, and does it hold where people wrote it?

def connective_rows(name, rows, ask):
    """The three expectations and p of the second clause's polarity under each connective, over all frames and in each.
    The ruling clause (A30) is the second, under "although" the first; "and", a comma and nothing are read as "but" is, for
    comparison. A model with a rule for "but" follows more often under it than under them; one without does not."""
    n, second = np.arange(len(rows)), np.array([row["polarity"] for row in rows])
    p = {c: polarity(ask([row[key] for row in rows])) for c, (key, _) in CONNECTIVES.items()}
    table = []
    for frame in ("all", *dict.fromkeys(row["frame"] for row in rows)):
        at = np.array([frame in ("all", row["frame"]) for row in rows])
        for c in CONNECTIVES:
            ruling = 2 - second if c == "although" else second
            held = expectations(p[c], p["none"], p[c][n ^ 1], ruling)  # n ^ 1: the row with the clauses swapped
            p_second, with_but = p[c][n, second], p["but"][n, second]
            table.append({"model": name, "frame": frame, "connective": c,
                          "follows_ruling_clause": summary(held["follows_second_clause"][at]),
                          "swaps_with_clauses": summary(held["swaps_with_clauses"][at]),
                          "less_confident_without": summary(held["less_confident_without_but"][at] if c != "none" else []),
                          "p_second_clause": summary(p_second[at]),
                          "p_second_minus_but": paired(p_second[at], with_but[at]) if c != "but" else paired([], [])})
    return table


def read_frames(path):
    """{"positive": [...], "negative": [...], "frames": [...]} of a JSON file; what it leaves out is ours."""
    sets = {"positive": POSITIVE, "negative": NEGATIVE, "frames": FRAMES}
    given = read_json(path) if path else {}
    if not isinstance(given, dict) or not given.keys() <= sets.keys():
        stop(f"{path}: not an object with positive, negative and frames alone")
    for key, items in given.items():
        if not isinstance(items, list) or not items or any(not isinstance(x, str) or not WORD.search(x) for x in items):
            stop(f"{path}: {key!r} is not a list of texts with a word in each")
    sets |= given
    for word in (words := [*sets["positive"], *sets["negative"]]):
        if words.count(word) > 1 or words_of(word) & CONNECTIVES.keys():
            stop(f"{path}: the adjective {word!r} stands there twice, or has a connective in it")
    for frame in sets["frames"]:
        if not re.fullmatch(r"[^{}]*{}[^{}]* but [^{}]*{}[^{}]*", frame) or len(re.findall(r"\bbut\b", frame)) != 1:
            stop(f"{path}: the frame {frame!r} needs one \" but \", and one {{}} on either side of it")
    return sets


def credit(row, connective="but"):
    """Of one explained sentence: r, the post-but ratio; u, what equal credit gives; r', of the mean |phi| a token,
    (r / u) / (r / u + (1 - r) / (1 - u)); and, in a template, the ratio of the two adjectives' |phi| alone."""
    phi = own_class(row)
    r, u = post_but_ratio(row["tokens"], phi, connective)
    ratios = {"post_but_ratio": r, "uniform_ratio": u, "length_normalised_ratio": r / u / (r / u + (1 - r) / (1 - u))}
    if "first" in row:
        of_adjectives = np.abs(phi) * [w in words_of(row["first"], row["second"]) for w in token_words(row)]
        post, total = of_adjectives[clauses(row["tokens"], connective)[0]:].sum(), of_adjectives.sum()
        ratios["adjective_ratio"] = post / total if total > ZERO else np.nan
    return ratios


def clause_game(ask, tokenizer, rows, connective="but"):
    """v (n, 8), the game of three players pre, but and post; coalition S has the bits 1, 2 and 4 of those present.
    v(S) is the probability of the class predicted for the whole sentence, with "but", when every token of the players outside
    S gives way to SHAP's reference ([MASK]'s row). The final stop is nobody's and stays; the connective stands where "but"
    stood (A31)."""
    asked = []
    for row in rows:
        ids = np.array(token_ids(tokenizer, row["text"]))
        at, end = clauses(tokenizer.convert_ids_to_tokens(ids.tolist()))
        ids[at] = tokenizer.convert_tokens_to_ids(connective)
        player = np.zeros(len(ids), dtype=int)
        player[:at], player[at], player[at + 1:end] = 1, 2, 4
        asked += [tuple(np.where(player & ~S, tokenizer.mask_token_id, ids).tolist()) for S in range(8)]
    p = ask(asked).reshape(-1, 8, 5)
    return p[np.arange(len(p)), :, ask([token_ids(tokenizer, row["text"]) for row in rows]).argmax(1)]


def three_player_shapley(v):
    """phi (n, 3) = sum over S without i of |S|! (2 - |S|)! / 3! (v(S + i) - v(S)), exactly, whatever tree shap would build;
    and the Shapley interaction (n, 3) of the two players without i, the mean over S in {{}, {i}} of v(S + j + k) - v(S + j)
    - v(S + k) + v(S): of but and post, what "but" adds to the second clause; of pre and but, what it takes from the first."""
    phi, interaction = [], []
    for i, j, k in ((1, 2, 4), (2, 1, 4), (4, 1, 2)):
        phi.append((v[:, i] - v[:, 0]) / 3 + (v[:, i + j] - v[:, j] + v[:, i + k] - v[:, k]) / 6 + (v[:, 7] - v[:, j + k]) / 3)
        interaction.append((v[:, j + k] - v[:, j] - v[:, k] + v[:, 0] + v[:, 7] - v[:, i + j] - v[:, i + k] + v[:, i]) / 2)
    return np.stack(phi, 1), np.stack(interaction, 1)


def credit_columns(explained, asked, ask, tokenizer, connective="but"):
    """{measure: (n,)}: the ratios of the explained sentences, and the three players' credit in all that are asked."""
    rows = [credit(row, connective) for row in explained]
    phi, interaction = three_player_shapley(clause_game(ask, tokenizer, asked, connective))
    pre, post = np.abs(phi[:, 0]), np.abs(phi[:, 2])
    shapley = {"shapley_pre": phi[:, 0], "shapley_but": phi[:, 1], "shapley_post": phi[:, 2],
               "interaction": interaction[:, 0], "interaction_with_pre": interaction[:, 2],
               "shapley_ratio": np.divide(post, pre + post, out=np.full(len(phi), np.nan), where=pre + post > ZERO)}
    return {key: np.array([row[key] for row in rows]) for row in rows[:1] for key in row} | shapley


def credit_row(name, rows, rows_and, bert, asked, ask, tokenizer):
    """One model's measures under "but", each less the same under "and" (paired), and how steady its ratio is beside BERT's.
    rows, rows_and, bert: explained with "but", with "and", with "but" by BERT; asked: all, for the three players. The class
    is the one predicted with "but", also under "and"."""
    rows_and = [row | {"predicted": with_but["predicted"]} for row, with_but in zip(rows_and, rows)]
    but, other = credit_columns(rows, asked, ask, tokenizer), credit_columns(rows_and, asked, ask, tokenizer, "and")
    ratios = but["post_but_ratio"]
    sds = np.nanstd(ratios[np.random.default_rng(SEED).integers(len(ratios), size=(2000, len(ratios)))], 1, ddof=1)
    low, high = np.nanpercentile(sds, [2.5, 97.5])  # as summary() does for means
    return {"model": name, **{key: summary(values) for key, values in but.items()},
            "ratio_minus_uniform": paired(ratios, but["uniform_ratio"]),
            **{f"{key}_but_minus_and": paired(but[key], other[key]) for key in other if key != "uniform_ratio"},
            "sd_of_ratio": summary(ratios) | {"mean": np.nanstd(ratios, ddof=1), "sd": None, "low": low, "high": high},
            "sd_ratio_to_bert": sd_ratio(ratios, [credit(row)["post_but_ratio"] for row in bert])}


def found_set(rows, explained_already):
    """Sentences "X but Y" (A32): one word that begins with "but", that word "but", three words or more on either side, and
    not "nothing but", "all but", "can't help but", "not only ... but". Those that 03 has explained come first."""
    found = []
    for row in rows:
        parts = re.fullmatch(r"(.+?)(\s*,?\s+)but(\s+)(.+?)(\s*[.!?]*)", row["text"], re.DOTALL)
        if not parts or len(re.findall(r"\bbut", row["text"], re.IGNORECASE)) != 1:
            continue
        first, before, after, second, end = parts.groups()
        if (len(WORD.findall(first)) >= 3 <= len(WORD.findall(second))
                and not re.search(r"n[o']t only\b|\b(all|anything|everything|help|nothing)$", first, re.IGNORECASE)):
            flipped = second + before + "but" + after + first + end
            found.append(row | {"first_clause": first + end, "second_clause": second + end, "flipped": flipped,
                                "without_but": first + before + second + end})
    return sorted(found, key=lambda row: row["id"] not in explained_already)


def found_row(rows, ask):
    """The three expectations on found sentences. What a clause says is what the model says of it alone (A32); they are asked
    where the two clauses are of opposite polarity to it."""
    text, without_but, flipped, first, second = (polarity(ask([row[key] for row in rows])) for key in (
        "text", "without_but", "flipped", "first_clause", "second_clause"))
    first, second = first.argmax(1), second.argmax(1)
    opposed = np.abs(first - second) == 2
    held = expectations(text[opposed], without_but[opposed], flipped[opposed], second[opposed])
    right = ask([row["text"] for row in rows]).argmax(1) == [row["label"] for row in rows]
    return {"n_found": len(rows), "accuracy": summary(right), "clauses_opposed": summary(opposed),
            **{key: summary(values) for key, values in held.items()},
            "follows_first_clause": summary((text.argmax(1) == first)[opposed])}


NEUTRAL = ("foreign", "animated", "recent", "historical", "subtitled", "digital")
AFFIRMED = "The movie was {}."
NEGATIONS = (  # A33: condition, sentence, what it is compared with, what the negation does to the adjective's polarity
    ("not", "The movie was not {}.", AFFIRMED, "turns"),
    ("never", "The movie was never {}.", AFFIRMED, "turns"),
    ("n't", "The movie wasn't {}.", AFFIRMED, "turns"),
    ("hardly", "The movie was hardly {}.", AFFIRMED, "turns"),
    ("double", "It is not true that the movie was not {}.", "The movie was not {}.", "restores"),
    ("of a neutral word", "The movie was not {}.", AFFIRMED, "nothing"),
    ("out of scope, before", "I did not go alone and the movie was {}.", "I went alone and the movie was {}.", "nothing"),
    ("out of scope, after", "The movie was {} and I did not see it alone.", "The movie was {} and I saw it alone.", "nothing"))
NEGATORS = {"not", "never", "hardly", "wasn", "t"}


def negation_set(words):
    """RQ4 and 3.7 (4) promise negation and show nothing (A22). words: polarity -> adjectives."""
    rows = []
    for condition, frame, other, effect in NEGATIONS:
        for sign in (1,) if condition == "of a neutral word" else (2, 0):
            rows += [{"id": f"negation-{condition}-{word}", "condition": condition, "effect": effect, "text": frame.format(word),
                      "other": other.format(word), "affirmed": AFFIRMED.format(word), "polarity": sign} for word in words[sign]]
    return rows


def negation_rows(name, explained, ask):
    """Pass rates of CheckList's three tests (Ribeiro et al., 2020), a row a condition; n = 0 where one does not apply.
    Minimum functionality: "not good" is negative, "not bad" is not negative; elsewhere the polarity is the adjective's own.
    Invariance: out of scope, or of a neutral word, the prediction stays. Direction: p of the adjective's polarity falls, and
    rises again at the second "not"."""
    table = []
    for condition in dict.fromkeys(row["condition"] for row in explained):
        rows = [row for row in explained if row["condition"] == condition]
        n, sign, effect = np.arange(len(rows)), np.array([row["polarity"] for row in rows]), rows[0]["effect"]
        text, other, affirmed = (polarity(ask([row[key] for row in rows])) for key in ("text", "other", "affirmed"))
        said, lost = text.argmax(1), other[n, sign] - text[n, sign]
        turned = np.where(sign == 2, said == 0, said != 0)
        of_phi, _, of_tokens = zip(*(share(row, NEGATORS) for row in rows))
        table.append({"model": name, "condition": condition, "affirmed_right": summary(affirmed.argmax(1) == sign),
                      "minimum_functionality": summary(turned if effect == "turns" else said == sign),
                      "invariance": summary(said == other.argmax(1) if effect == "nothing" else []),
                      "direction": summary({"turns": lost > 0, "restores": lost < 0, "nothing": []}[effect]),
                      "probability_lost": summary(lost), "share_of_not": summary(of_phi), "not_in_sentence": summary(of_tokens)})
    return table


# ---------------------------------------------------------------------------------------------------------------------
# Which words carry it, and is the right label for the right reason?

def words_of(*texts):
    return {word for text in texts for word in WORD.findall(text.lower())}


def token_words(row):
    """The word that each token is a piece of, lower-cased; None for punctuation."""
    at = {i: m.group().lower() for m in WORD.finditer(row["text"]) for i in range(*m.span())}
    return [at.get(start) for start, _ in row["spans"]]


def polarity_words(rows, at_least=10, level=0.05, difference=0.5):
    """Words whose sentences have other labels than a random set of sentences would (A35).
    For a word in n of N training sentences with mean label m, z = (m - M) / (S sqrt((N - n) / (n (N - 1)))), M and S the
    mean and SD (over N) of all labels: exactly the mean and SD of m under a random draw. Kept are words, function words aside,
    in >= 10 sentences, with p of |z| within Benjamini and Hochberg's bound at 5%, and half a class or more from M."""
    labels, n_all, of_word, tested = np.array([row["label"] for row in rows]), len(rows), defaultdict(list), []
    for row in rows:
        for word in words_of(row["text"]) - ENGLISH_STOP_WORDS:
            of_word[word].append(row["label"])
    for word, its in of_word.items():
        n, shift = len(its), np.mean(its) - labels.mean()
        if at_least <= n < n_all:
            z = shift / (labels.std() * ((n_all - n) / (n * (n_all - 1)))**0.5)
            tested.append({"id": word, "sentences": n, "difference": shift, "z": z, "p": erfc(abs(z) / 2**0.5)})
    tested.sort(key=lambda row: (row["p"], row["id"]))
    last = max((i for i, row in enumerate(tested, 1) if row["p"] <= level * i / len(tested)), default=0)
    return [row for row in tested[:last] if abs(row["difference"]) >= difference]


def share(row, words):
    """What the tokens of these words get: (share of |phi|, share of the top 3, their share of the tokens, which is what
    attributions at random get of both)."""
    size, member = np.abs(own_class(row)), np.array([w in words for w in token_words(row)])
    return size[member].sum() / size.sum() if size.sum() > ZERO else np.nan, member[top_k(size, 3)].mean(), member.mean()


def words_row(name, which, rows, bert, polar):
    """Function words (A34: scikit-learn's list) and polarity words (A35) of one model's explanations, against what random
    attributions give and against BERT's, paired."""
    result = {"model": name, "set": which}
    for kind, words in (("function", ENGLISH_STOP_WORDS), ("polarity", polar)):
        of_phi, of_top, chance = np.array([share(row, words) for row in rows]).T
        result |= {f"{kind}_share": summary(of_phi), f"{kind}_top3": summary(of_top), f"{kind}_in_sentence": summary(chance),
                   f"{kind}_share_minus_chance": paired(of_phi, chance), f"{kind}_top3_minus_chance": paired(of_top, chance),
                   f"{kind}_share_minus_bert": paired(of_phi, [share(row, words)[0] for row in bert])}
    return result


def reasons(rows, words_for):
    """(right, elsewhere, by chance), a number a sentence (A36). Right: the class, in a template the second clause's polarity.
    elsewhere: none of the three largest |phi| is on a polarity word (in a template: the second adjective); NaN where the
    sentence has none. By chance: three tokens at random miss all m of n, C(n - m, 3) / C(n, 3)."""
    result = []
    for row in rows:
        member = np.array([w in words_for(row) for w in token_words(row)])
        n, m, k = len(member), int(member.sum()), min(3, len(member))
        right = row["predicted"] == row["label"] if "label" in row else polarity(row["probabilities"]).argmax() == row["polarity"]
        missed = not member[top_k(own_class(row), 3)].any()
        result.append((right, missed, comb(n - m, k) / comb(n, k)) if m else (right, np.nan, np.nan))
    right, elsewhere, chance = np.array(result, dtype=float).T
    return right == 1, elsewhere, chance


def reasons_row(name, which, right, elsewhere, chance):
    """The two-by-two of one model, and the rate of the wrong reason among the right labels."""
    return {"model": name, "set": which,
            **{f"{label}_{where}": int((rows & (elsewhere == e)).sum()) for label, rows in (("right", right), ("wrong", ~right))
               for e, where in enumerate(("on_polarity", "elsewhere"))},
            "n_without_polarity_word": int(np.isnan(elsewhere).sum()), "right_for_wrong_reason": summary(elsewhere[right]),
            "by_chance": summary(chance[right]), "wrong_label_elsewhere": summary(elsewhere[~right])}


def reasons_pairs(which, found):
    """Every two models on the sentences that both get right: the first's rate less the second's, McNemar, and Holm over the
    set's pairs. found: name -> reasons()."""
    table = []
    for a, b in combinations(found, 2):
        both = found[a][0] & found[b][0] & ~np.isnan(found[a][1]) & ~np.isnan(found[b][1])
        table.append({"pair": [a, b], "set": which, "first": summary(found[a][1][both]), "second": summary(found[b][1][both]),
                      "difference": paired_rates(found[a][1][both], found[b][1][both])})
    return [row | {"p_holm": p} for row, p in zip(table, holm([row["difference"]["p"] for row in table]))]


def pick_cases(shap):
    """3.7 (6), by rule (A26): the smallest margin of BERT's two likeliest classes; of the sentences with "but" inside, and of
    those KD-TinyBERT gets right, the one whose attributions lie furthest from BERT's. shap: name -> rows of the subset."""
    bert, kd = shap["bert"], shap["kd_tinybert"]
    margin = np.array([np.diff(np.sort(row["probabilities"])[-2:])[0] for row in bert])
    direction = np.array([cosine(own_class(a), own_class(b)) for a, b in zip(bert, kd)])
    rules = {"contrastive": (["but" in row["tokens"][1:] for row in bert], direction), "borderline": ([True] * len(bert), margin),
             "kd_right_far_from_bert": ([row["predicted"] == row["label"] for row in kd], direction)}
    cases = []
    for rule, (fits, value) in rules.items():
        for i in sorted(np.flatnonzero(fits & ~np.isnan(value)), key=lambda i: value[i])[:1]:
            cases.append({"rule": rule, **{key: bert[i][key] for key in ("id", "text", "label", "tokens")},
                          "cosine_kd_bert": direction[i], "margin_bert": margin[i],
                          "models": {name: {"predicted": rows[i]["predicted"], "probabilities": rows[i]["probabilities"],
                                            "phi": own_class(rows[i])} for name, rows in shap.items()}})
    return cases


def parse_args(argv=None):
    parser = cli(__doc__, data=True, device=True, overwrite=True)
    parser.add_argument("--adjectives", type=positive, help="take this many of each polarity")
    parser.add_argument("--frames", metavar="FILE", help='JSON, {"positive": [...], "negative": [...], "frames": '
                        '["The plot was {} but the cast was {}."]}: others than ours; Table 4 keeps the paper\'s frame')
    parser.add_argument("--found", type=positive, default=60, help="sentences with “but” to explain, of the 150 first")
    parser.add_argument("--controls", type=model_name, nargs="*", default=[], metavar="NAME", help="further models")
    add_shap_flags(parser)
    return parser.parse_args(argv)


def main():
    args = parse_args()
    device = pick_device(args.device, args.deterministic)
    artifacts, names = Path(args.artifacts), [*MODELS, *args.controls]
    sets = read_frames(args.frames)
    good, bad = sets["positive"][:args.adjectives], sets["negative"][:args.adjectives]
    splits, subset = load_splits(args.data), load_subset(artifacts)
    weights = {name: weights_of(artifacts, name, splits) for name in names}
    shap = {}
    for name in names:
        shap[name], explained_how = load_explanations(artifacts, name, "shap", subset)
        how = {key: getattr(args, key) for key in ("background", "max_evals", "reference", "seed")}
        if differ := differences({key: explained_how["arguments"][key] for key in how}, how):
            stop(f"the 150 of {name} were explained otherwise than the probes would be ({differ}); pass the same to 05_probes.py")
    if rank_of()[0] == 0:
        claim(artifacts / "tables" / "05_probes")

    contrast = contrastive_set(good, bad, (FRAME, *(frame for frame in sets["frames"] if frame != FRAME)))
    paper = [row for row in contrast if row["frame"] == FRAME]
    with_and = [row | {"id": f"{row['id']}-and", "text": row["with_and"]} for row in paper]
    _, example = contrastive_set(("joyful",), ("weak",), (FRAME,))
    negation = negation_set({2: good, 1: NEUTRAL[:args.adjectives], 0: bad})
    there = {row["id"] for row in subset}
    found = found_set(splits["test"], there)
    sample, lexicon = found[:args.found], polarity_words(splits["train"])
    for kind, rows in (("contrast", contrast), ("found", found), ("negation", negation), ("polarity_words", lexicon)):
        write_jsonl(artifacts / "probes" / f"{kind}.jsonl", rows)

    to_explain = {row["id"]: row for row in (*paper, *with_and, *negation, example, *sample)}  # the example may be one of the set
    to_explain = [row for row in to_explain.values() if row["id"] not in there]
    texts = [row["text"] for row in to_explain]
    tables, templates, samples, measures = defaultdict(list, found=[]), {}, {}, {}  # a text may have no found sentence
    for name in names:
        model, tokenizer = load_classifier(artifacts, name, device)
        ask = partial(predict_proba, model, tokenizer)
        asked = [row | {"probabilities": p, "predicted": p.argmax()} for row, p in zip(to_explain, ask(texts))]
        with shap_reference(model, tokenizer, splits["train"], args) as background:
            stamp = make_stamp(args, device, ("controls", "adjectives", "found", "frames"), weights=weights[name],
                               background=background, probes=digest(texts))
            made = {row["id"]: row for row in [*shap[name], *explain_rows(
                artifacts / "probes" / f"{name}.shap.jsonl", asked,
                lambda rows, of=(model, tokenizer): explain_shap(*of, [row["text"] for row in rows], args.max_evals, args.seed),
                stamp, args.overwrite, f"{name}, probes", SHAP_TOGETHER)]}
            templates[name], samples[name], ands, negated = ([made[row["id"]] for row in rows]
                                                             for rows in (paper, sample, with_and, negation))
            tables["credit"].append(credit_row(name, templates[name], ands, templates["bert"], paper, ask, tokenizer))
            if found:
                tables["found"].append(credit_row(name, samples[name], [], samples["bert"], found, ask, tokenizer)
                                       | found_row(found, ask))
        measures[name] = contrast_measures(templates[name], ask)
        tables["table4"].append({"model": name, **{key: summary(values) for key, values in measures[name].items()}})
        tables["table5"].append(example_row(name, made[example["id"]], ask))
        tables["contrast"] += connective_rows(name, contrast, ask)
        tables["negation"] += negation_rows(name, negated, ask)
    compared = ("post_but_ratio", "follows_second_clause", "swaps_with_clauses", "less_confident_without_but")
    tables["contrast_comparisons"] = compare([("4.5", measure, *pair) for measure in compared for pair in PAIRS],
                                             {measure: {name: measures[name][measure] for name in names} for measure in compared})
    polar = {row["id"] for row in lexicon}
    for which, rows, words, evidence in (("subset", shap, polar, lambda row: polar),
                                         ("templates", templates, words_of(*good, *bad), lambda row: words_of(row["second"]))):
        why = {name: reasons(rows[name], evidence) for name in names}
        tables["words"] += [words_row(name, which, rows[name], rows["bert"], words) for name in names]
        tables["reasons"] += [reasons_row(name, which, *why[name]) for name in names]
        tables["reasons_paired"] += reasons_pairs(which, why)
    tables["cases"] = pick_cases({name: shap[name] for name in MODELS})

    stamp = make_stamp(args, device, text=digest(splits), subset=digest([row["text"] for row in subset]), **weights)
    for table, rows in tables.items() if rank_of()[0] == 0 else ():
        write_json(artifacts / "tables" / f"{table}.json", {"stamp": stamp, "rows": rows})
        print(f"wrote tables/{table}.json")
    return args


if __name__ == "__main__":
    run(main)
