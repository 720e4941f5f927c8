"""05: planted models that read in a known way must get the verdict they deserve; the formulas by hand and by brute force."""
import json
from functools import partial
from itertools import combinations, permutations
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import common

GOOD, BAD = ("excellent", "joyful"), ("dull", "weak")
WRITTEN = ["the plot was dull but the cast was excellent .", "the plot was joyful , but the cast was weak ."]


# --- Planted models: p(very positive) = 0.35 + 0.3 x, p(very negative) = 0.35 - 0.3 x, x in [-1, 1] from the words ------------

VALUE = {**dict.fromkeys(GOOD, 1), **dict.fromkeys(BAD, -1)}


def bag(words):
    return sum(VALUE.get(w, 0) for w in words) / 2


def after_but(words):
    """Reads what follows "but", and all where there is none."""
    return sum(VALUE.get(w, 0) for w in (words[words.index("but"):] if "but" in words else words)) / 2


def last_word(words):
    return VALUE.get(words[-2], 0)  # words[-1] is the stop


def function_words(words):
    return words.count("the") / 4 + words.count("was") / 8


def negating(words):
    """A bag that turns at every negator, wherever it stands."""
    return bag(words) * (-1) ** sum(w in ("not", "never", "hardly", "wasn") for w in words)


READERS = {"bag": bag, "after_but": after_but, "last_word": last_word, "function_words": function_words, "negating": negating}


class Reader(torch.nn.Module):
    def __init__(self, tokenizer, reads):
        super().__init__()
        self.tokenizer, self.reads, self.device = tokenizer, reads, torch.device("cpu")

    def forward(self, input_ids, attention_mask):
        special = {"[CLS]", "[SEP]", "[PAD]"}
        words = [[w for w in self.tokenizer.convert_ids_to_tokens(row.tolist()) if w not in special] for row in input_ids]
        x = torch.tensor([float(self.reads(w)) for w in words], dtype=torch.float64)
        return SimpleNamespace(logits=torch.stack([0.35 - 0.3 * x, *[torch.full_like(x, 0.1)] * 3, 0.35 + 0.3 * x], 1).log())


@pytest.fixture(scope="module")
def probes(scripts):
    return scripts["05"]


@pytest.fixture(scope="module")
def tokenizer(probes, tmp_path_factory):
    from transformers import BertTokenizerFast
    rows = probes.contrastive_set(GOOD, BAD, (probes.FRAME, *probes.FRAMES))
    texts = [row[key] for row in rows for key in ("text", "with_although")]
    texts += [row["text"] for row in probes.negation_set({2: GOOD, 1: probes.NEUTRAL, 0: BAD})] + WRITTEN
    words = sorted({w for text in texts for w in text.lower().replace("wasn't", "wasn ' t").replace(".", "").split()})
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", *words]), encoding="utf-8")
    return BertTokenizerFast.from_pretrained(str(path.parent), do_lower_case=True, model_max_length=512)


def explain(rows, model, tokenizer):
    p = common.predict_proba(model, tokenizer, [row["text"] for row in rows])
    return [row | common.explain_shap(model, tokenizer, [row["text"]])[0] | {"probabilities": q, "predicted": int(q.argmax())}
            for row, q in zip(rows, p)]


@pytest.fixture(scope="module")
def seen(probes, tokenizer):
    """name -> what 05 computes of the planted model, each by its own function."""
    result, frames = {}, (probes.FRAME, *probes.FRAMES)
    paper = probes.contrastive_set(GOOD, BAD, (probes.FRAME,))
    found = probes.found_set([{"id": f"test-{i}", "text": t, "label": 4 * (i == 0)} for i, t in enumerate(WRITTEN)], set())
    for name in ("bag", "after_but", "last_word", "function_words"):
        model = Reader(tokenizer, READERS[name])
        ask = partial(common.predict_proba, model, tokenizer)
        but = explain(paper, model, tokenizer)
        with_and = explain([row | {"text": row["with_and"]} for row in paper], model, tokenizer)
        explained_found = explain(found, model, tokenizer)
        bert = result["bag"]["explained"] if result else but
        result[name] = {
            "explained": but, "table4": {k: common.summary(v) for k, v in probes.contrast_measures(but, ask).items()},
            "contrast": {(r["frame"], r["connective"]): r for r in probes.connective_rows(
                name, probes.contrastive_set(GOOD, BAD, frames), ask)},
            "credit": probes.credit_row(name, but, with_and, bert, paper, ask, tokenizer),
            "found": (probes.credit_row(name, explained_found, [], explained_found, found, ask, tokenizer)
                      | probes.found_row(found, ask)),
            "words": probes.words_row(name, "templates", but, bert, {*GOOD, *BAD}),
            "reasons": probes.reasons(but, lambda row: {row["second"]})}
        result[name]["reasons_row"] = probes.reasons_row(name, "templates", *result[name]["reasons"])
    return result


@pytest.fixture(scope="module")
def negated(probes, tokenizer):
    result = {}
    for name in ("bag", "last_word", "negating", "function_words"):
        model = Reader(tokenizer, READERS[name])
        rows = explain(probes.negation_set({2: GOOD[:1], 1: probes.NEUTRAL[:1], 0: BAD[:1]}), model, tokenizer)
        ask = partial(common.predict_proba, model, tokenizer)
        result[name] = {r["condition"]: r for r in probes.negation_rows(name, rows, ask)}
    return result


def mean(table, *keys):
    return pytest.approx([table[key]["mean"] for key in keys], abs=1e-9)


@pytest.mark.parametrize("name, follows, swaps, less", [
    ("bag", 0.5, 0, 0), ("after_but", 1, 1, 1), ("last_word", 1, 1, 0), ("function_words", 0.5, 0, 0)])
def test_verdict_on_the_three_expectations(seen, name, follows, swaps, less):
    expected = [follows, swaps, less]
    assert expected == mean(seen[name]["table4"], "follows_second_clause", "swaps_with_clauses", "less_confident_without_but")
    for frame in {frame for frame, _ in seen[name]["contrast"]}:  # the rule does not hang on the frame
        row = seen[name]["contrast"][frame, "but"]
        assert expected == mean(row, "follows_ruling_clause", "swaps_with_clauses", "less_confident_without"), frame
    assert seen[name]["contrast"]["all", "but"]["follows_ruling_clause"]["n"] == 56


@pytest.mark.parametrize("name, under_and, under_although, change", [
    ("bag", 0.5, 0.5, 0), ("after_but", 0.5, 0.5, -0.15), ("last_word", 1, 0, 0), ("function_words", 0.5, 0.5, 0)])
def test_verdict_on_other_connectives(seen, name, under_and, under_although, change):
    rows = {c: seen[name]["contrast"]["all", c] for c in ("but", "none", "and", "although", "comma")}
    for c in ("none", "and", "comma"):
        assert rows[c]["follows_ruling_clause"]["mean"] == under_and
        assert rows[c]["p_second_minus_but"]["mean"] == pytest.approx(change, abs=1e-9)
    assert rows["although"]["follows_ruling_clause"]["mean"] == under_although  # the first clause rules, and none of them knows
    assert rows["none"]["less_confident_without"]["n"] == rows["but"]["p_second_minus_but"]["n"] == 0


@pytest.mark.parametrize("name, ratio, adjective, players, but_minus_and", [
    ("bag", 0.5, 0.5, (0.15, 0, 0.15), 0), ("last_word", 1, 1, (0, 0, 0.3), 0)])
def test_verdict_on_credit(seen, name, ratio, adjective, players, but_minus_and):
    row = seen[name]["credit"]
    assert [ratio, adjective, ratio] == mean(row, "post_but_ratio", "adjective_ratio", "shapley_ratio")
    assert row["uniform_ratio"]["mean"] == 0.5 == row["uniform_ratio"]["low"]
    assert row["length_normalised_ratio"]["mean"] == pytest.approx(ratio)
    assert np.abs([row[f"shapley_{p}"]["mean"] for p in ("pre", "but", "post")]) == pytest.approx(
        [0, players[1], players[2]] if name == "last_word" else [0, 0, 0], abs=1e-9)  # over both orders a bag's cancel
    assert [0, 0] == mean(row, "interaction", "interaction_with_pre")
    assert [but_minus_and] * 3 == mean(row, *(f"{k}_ratio_but_minus_and" for k in ("post_but", "adjective", "shapley")))
    assert row["sd_of_ratio"]["mean"] == pytest.approx(0, abs=1e-9) and row["sd_ratio_to_bert"]["n"] == 0  # BERT's SD is 0


def test_verdict_on_credit_of_a_rule(seen):
    row = seen["after_but"]["credit"]
    # worked by hand, in halves of 0.3: v is -1 of {pre}, 1 of {post}, {but, post} and all three, 0 of the rest
    assert [-0.075, 0.075, 0.15] == mean(row, "shapley_pre", "shapley_but", "shapley_post")
    assert [0, 0.15] == mean(row, "interaction", "interaction_with_pre")  # "but" adds nothing to post, it takes pre away
    assert row["shapley_ratio"]["mean"] == pytest.approx(2 / 3) and row["shapley_ratio_but_minus_and"]["low"] > 0.1
    assert row["adjective_ratio_but_minus_and"]["low"] > 0.1 and row["ratio_minus_uniform"]["low"] > 0.1
    nothing = seen["function_words"]["credit"]
    assert nothing["adjective_ratio"]["n"] == 0 and nothing["interaction"]["mean"] == pytest.approx(0, abs=1e-9)
    assert [0, 0] == mean(nothing, "ratio_minus_uniform", "post_but_ratio_but_minus_and")


@pytest.mark.parametrize("name, opposed, follows, swaps, less", [
    ("bag", 2, 0.5, 0, 0), ("after_but", 2, 1, 1, 1), ("last_word", 2, 1, 1, 0), ("function_words", 0, None, None, None)])
def test_verdict_on_found_sentences(seen, name, opposed, follows, swaps, less):
    row = seen[name]["found"]
    keys = ("follows_second_clause", "swaps_with_clauses", "less_confident_without_but")
    assert row["n_found"] == 2 and [row[key]["n"] for key in keys] == [opposed] * 3
    assert [row[key]["mean"] for key in keys] == [follows, swaps, less]
    assert row["shapley_ratio"]["n"] == 2 and row["shapley_ratio"]["mean"] == pytest.approx(
        {"bag": 0.5, "after_but": 2 / 3, "last_word": 1, "function_words": 0.5}[name])


@pytest.mark.parametrize("name, function, polarity, wrong_reason", [
    ("bag", 0, 1, 0), ("last_word", 0, 1, 0), ("function_words", 1, 0, 1)])
def test_verdict_on_words_and_reasons(seen, name, function, polarity, wrong_reason):
    words, reasons = seen[name]["words"], seen[name]["reasons_row"]
    assert [function, polarity] == mean(words, "function_share", "polarity_share")
    assert [5 / 10, 2 / 10] == mean(words, "function_in_sentence", "polarity_in_sentence")  # the was but the was; movie ending
    assert words["function_share_minus_bert"]["mean"] == pytest.approx(function)
    assert words["polarity_share_minus_chance"]["mean"] == pytest.approx(polarity - 0.2)
    assert reasons["right_for_wrong_reason"]["mean"] == wrong_reason
    assert reasons["n_without_polarity_word"] == 0
    assert reasons["right_on_polarity"] + reasons["right_elsewhere"] == reasons["right_for_wrong_reason"]["n"]
    assert sum(reasons[f"{a}_{b}"] for a in ("right", "wrong") for b in ("on_polarity", "elsewhere")) == 8
    assert reasons["by_chance"]["mean"] == pytest.approx(7 / 10)  # C(9, 3) / C(10, 3)


def test_verdict_on_a_rule_is_partly_a_function_word(seen):
    words = seen["after_but"]["words"]  # "but" is one, and does work
    assert 0.1 < words["function_share"]["mean"] < 0.5 < words["polarity_share"]["mean"]
    assert seen["after_but"]["reasons_row"] | {"model": 0} == seen["after_but"]["reasons_row"] | {
        "model": 0, "right_on_polarity": 8, "right_elsewhere": 0, "wrong_on_polarity": 0, "wrong_elsewhere": 0}


def test_reasons_are_compared_on_sentences_both_get_right(probes, seen):
    why = {name: seen[name]["reasons"] for name in ("last_word", "function_words", "after_but")}
    rows = {tuple(r["pair"]): r for r in probes.reasons_pairs("templates", why)}
    row = rows["last_word", "function_words"]
    assert row["difference"]["mean"] == -1 and row["difference"]["n"] == 4  # the second is right where it says positive
    assert row["difference"]["p"] == pytest.approx(2 * 0.5**4) and row["p_holm"] == pytest.approx(3 * row["difference"]["p"])
    assert rows["last_word", "after_but"]["difference"]["mean"] == 0 and rows["last_word", "after_but"]["difference"]["n"] == 8


# --- Negation ---------------------------------------------------------------------------------------------------------------

TURNS = ("not", "never", "n't", "hardly")


@pytest.mark.parametrize("name, passes, double, invariance, credited", [
    ("bag", 0, 1, 1, False), ("last_word", 0, 1, 1, False), ("negating", 1, 1, 0, True)])
def test_verdict_on_negation(negated, name, passes, double, invariance, credited):
    rows = negated[name]
    for condition in TURNS:
        assert [passes, passes, 1] == mean(rows[condition], "minimum_functionality", "direction", "affirmed_right"), condition
        assert (rows[condition]["share_of_not"]["mean"] > 0.3) == credited and rows[condition]["invariance"]["n"] == 0
    assert [double, passes] == mean(rows["double"], "minimum_functionality", "direction")
    if name != "last_word":  # which reads "alone" after it
        assert rows["out of scope, after"]["minimum_functionality"]["mean"] == invariance
    assert rows["out of scope, before"]["invariance"]["mean"] == invariance
    assert rows["n't"]["not_in_sentence"]["mean"] == pytest.approx(2 / 7)  # the movie wasn ' t dull .


def test_a_model_without_polarity_words_fails_negation(negated):
    rows = negated["function_words"]
    assert rows["not"]["affirmed_right"]["mean"] == 0.5 and rows["not"]["direction"]["mean"] == 0
    assert rows["out of scope, before"]["direction"]["n"] == 0


# --- The formulas -------------------------------------------------------------------------------------------------------------

def test_contrastive_set(probes):
    rows = probes.contrastive_set(probes.POSITIVE, probes.NEGATIVE, (probes.FRAME, *probes.FRAMES))
    paper = [row for row in rows if row["frame"] == probes.FRAME]
    assert len(paper) == 288 and rows[:288] == paper and len({row["id"] for row in rows}) == len(rows) == 7 * 288
    assert all(a["flipped"] == b["text"] and b["flipped"] == a["text"] for a, b in zip(rows[::2], rows[1::2]))
    texts = {row["text"] for row in paper}
    assert len(texts) == 288 and "The movie was excellent but the ending was dull." in texts
    example = next(row for row in paper if row["id"] == "weak-joyful")
    assert example["text"] == "The movie was weak but the ending was joyful." and example["polarity"] == 2
    assert example["without_but"] == "The movie was weak the ending was joyful."
    assert example["with_although"] == "The movie was weak although the ending was joyful."
    assert all(row["text"].count(" but ") == 1 and row["text"][0].isupper() and row["text"][-1] == "." for row in rows)


def test_post_but_ratio_by_hand(probes):
    tokens = ["a", "but", "b", "c", "."]
    ratio, uniform = probes.post_but_ratio(tokens, np.array([0.1, 9.0, -0.2, 0.1, 9.0]))
    assert ratio == pytest.approx(0.75) and uniform == pytest.approx(2 / 3)
    assert np.isnan(probes.post_but_ratio(["a", "b"], np.ones(2))[0])


def test_ratios_by_hand(probes):
    phi = [0.1, -0.2, 0.9, 0.3, 0.1, 0.2, 0.4, 9.0]
    row = {"text": "so dull but it is un fun.", "tokens": ["so", "dull", "but", "it", "is", "un", "fun", "."], "predicted": 1,
           "spans": [[0, 2], [3, 7], [8, 11], [12, 14], [15, 17], [18, 20], [21, 24], [24, 25]],
           "first": "dull", "second": "un fun", "attributions": [[0, v, 0, 0, 0] for v in phi]}
    got = probes.credit(row)
    assert got["post_but_ratio"] == pytest.approx(1.0 / 1.3) and got["uniform_ratio"] == pytest.approx(4 / 6)
    assert got["length_normalised_ratio"] == pytest.approx((1.0 / 4) / (1.0 / 4 + 0.3 / 2))  # of the mean |phi| a token
    assert got["adjective_ratio"] == pytest.approx(0.6 / 0.8)
    assert probes.share(row, {"dull", "fun"}) == pytest.approx((0.6 / 11.2, 1 / 3, 2 / 8))  # top 3: the stop, but, fun


def test_expectations_by_hand(probes):
    p = probes.polarity([[0.1, 0.1, 0.2, 0.3, 0.3], [0.5, 0.1, 0.2, 0.1, 0.1]])
    assert p == pytest.approx(np.array([[0.2, 0.2, 0.6], [0.6, 0.2, 0.2]]))
    got = probes.expectations(p, np.array([[0.3, 0.2, 0.5], [0.7, 0.2, 0.1]]), p[[1, 1]], np.array([2, 0]))
    assert list(got["follows_second_clause"]) == [True, True]
    assert list(got["swaps_with_clauses"]) == [True, False]  # the second sentence stays negative when flipped
    assert list(got["less_confident_without_but"]) == [True, False]


def test_three_player_shapley_is_the_mean_over_all_orders(probes, rng):
    v = rng.normal(size=(5, 8))
    phi, interaction = probes.three_player_shapley(v)
    for i, player in enumerate((1, 2, 4)):
        orders = [sum(order[:order.index(player)]) for order in permutations((1, 2, 4))]  # the coalition already there
        assert phi[:, i] == pytest.approx(np.mean([v[:, s + player] - v[:, s] for s in orders], 0))
        j, k = {1, 2, 4} - {player}
        worth = [v[:, s + j + k] - v[:, s + j] - v[:, s + k] + v[:, s] for s in (0, player)]
        assert interaction[:, i] == pytest.approx(np.mean(worth, 0))
    assert phi.sum(1) == pytest.approx(v[:, 7] - v[:, 0])


def test_clause_game_masks_the_players_that_are_absent(probes, tokenizer):
    asked = []
    probes.clause_game(lambda ids: asked.extend(ids) or np.full((len(ids), 5), 0.2), tokenizer, [{"text": WRITTEN[0]}], "and")
    texts = [tokenizer.decode(ids).replace("[MASK]", "_") for ids in asked]
    assert texts[7] == "the plot was dull and the cast was excellent." and texts[0] == "_ _ _ _ _ _ _ _ _."
    assert texts[1] == "the plot was dull _ _ _ _ _." and texts[6] == "_ _ _ _ and the cast was excellent."


def test_found_set_takes_two_clauses_and_nothing_else(probes):
    texts = ["the plot was dull , but the cast was great .", "But it is very good .", "it is all but impossible to like .",
             "not only dull and long but also very loud .", "good but dull .", "he butchers the plot but the cast is great .",
             "it was long but it was fun but it was dull .", "a film that is dull but loud and long"]
    rows = probes.found_set([{"id": str(i), "text": t, "label": 2} for i, t in enumerate(texts)], {"7"})
    assert [row["id"] for row in rows] == ["7", "0"]
    assert rows[1]["flipped"] == "the cast was great , but the plot was dull ."
    assert rows[1]["without_but"] == "the plot was dull , the cast was great ."
    assert (rows[1]["first_clause"], rows[1]["second_clause"]) == ("the plot was dull .", "the cast was great .")


def test_polarity_words_by_hand_and_by_all_draws(probes):
    rows = [{"text": f"superb film the {i}", "label": 4} for i in range(4)]
    rows += [{"text": f"film the x{i}", "label": i % 3} for i in range(6)]
    got = probes.polarity_words(rows, at_least=4)
    labels = [row["label"] for row in rows]
    means = [np.mean(c) for c in combinations(labels, 4)]  # every draw of 4 of the 10
    assert [row["id"] for row in got] == ["superb"]  # not "film", in all of them, nor "the"
    assert got[0]["z"] == pytest.approx((4 - np.mean(means)) / np.std(means)) and got[0]["sentences"] == 4
    assert got[0]["difference"] == pytest.approx(4 - np.mean(labels))


def test_polarity_words_of_shuffled_labels_are_few(probes, rng):
    words = [f"w{i}" for i in range(300)]
    rows = [{"text": " ".join(rng.choice(words, 12)), "label": int(rng.integers(5))} for _ in range(600)]
    assert len(probes.polarity_words(rows)) <= 2
    planted = [row | {"text": row["text"] + {4: " superb", 0: " awful"}.get(row["label"], "")} for row in rows]
    found = {row["id"]: row["z"] for row in probes.polarity_words(planted)}
    assert found["superb"] > 5 and found["awful"] < -5 and len(found) <= 5


# --- --frames -----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("content, says", [
    ("[", "is not JSON"), ("[1]", "not an object"), ('{"nouns": ["plot"]}', "not an object with"),
    ('{"positive": "good"}', "'positive' is not a list"), ('{"negative": []}', "'negative' is not a list"),
    ('{"positive": [3]}', "not a list of texts"),
    ('{"positive": ["dull"]}', "'dull' stands there twice"), ('{"positive": ["good", "good"]}', "'good' stands there twice"),
    ('{"positive": ["good and fun"]}', "has a connective"), ('{"frames": ["It was {} but good."]}', "needs one"),
    ('{"frames": ["It was {} and it was {}."]}', 'needs one " but "'),
    ('{"frames": ["It was {0} but it was {1}."]}', "needs one"), ('{"frames": ["{} but {} but bad."]}', "needs one")])
def test_bad_frames_are_one_line(call, tmp_path, content, says):
    path = tmp_path / "frames.json"
    path.write_text(content)
    status, _, err = call("05", "--artifacts", tmp_path, "--device", "cpu", "--frames", path)
    assert status == 2 and says in err and err.count("\n") == 1
    status, _, err = call("05", "--artifacts", tmp_path, "--device", "cpu", "--frames", tmp_path / "none.json")
    assert status == 2 and "is missing" in err


def test_frames_stand_beside_the_papers(probes, tmp_path):
    path = tmp_path / "frames.json"
    path.write_text(json.dumps({"frames": ["The plot was {} but the cast was {}."], "positive": ["good"]}))
    sets = probes.read_frames(path)
    assert sets == {"positive": ["good"], "negative": probes.NEGATIVE, "frames": ["The plot was {} but the cast was {}."]}
