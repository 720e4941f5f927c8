"""05: every formula worked by hand or by brute force, and SHAP on a planted model."""
from functools import partial
from itertools import combinations

import numpy as np
import pytest

import common


@pytest.fixture(scope="module")
def probes(scripts):
    return scripts["05"]


def explained(text, pieces, phi, predicted=1, **more):
    """A row as 03 writes it. phi: of every piece for class 1, and with the other sign for 4."""
    spans, end = [], 0
    for piece in pieces:
        start = text.index(piece, end)
        end = start + len(piece)
        spans.append([start, end])
    return {"id": text, "text": text, "tokens": pieces, "spans": spans, "predicted": predicted,
            "attributions": [[0, x, 0, 0, -x] for x in phi], **more}


def test_post_but_ratio_leaves_out_but_and_what_ends_the_sentence(probes):
    pieces = ["It", "'", "s", "joy", "ful", "But", "du", "ll", ",", "flat", ".", ".", "."]
    row = explained("It's joyful But dull, flat...", pieces, np.zeros(13))
    phi = np.array([.1, .1, 0, -.1, .1, 9, .3, -.1, .1, .1, 9, 9, 9])
    assert probes.post_but_ratio(row, phi) == pytest.approx(.6 / 1.0)  # the comma inside counts
    assert probes.post_but_ratio(row, np.ones(13)) == pytest.approx(4 / 9)  # equal credit
    assert np.isnan(probes.post_but_ratio(row, np.zeros(13)))
    assert np.isnan(probes.post_but_ratio(row, phi, "and"))
    butter = explained("butter but bread", ["but", "ter", "but", "bread"], np.zeros(4))
    assert probes.post_but_ratio(butter, np.array([1, 1, 9, 6])) == 6 / 8  # "butter" has no "but"
    twice = explained("a but b but c.", ["a", "but", "b", "but", "c", "."], np.zeros(6))
    assert np.isnan(probes.post_but_ratio(twice, np.ones(6)))


def test_flipped_variants_pair_up(probes):
    rows = probes.contrast_sentences(["good", "fun"], ["bad", "sad", "dull"])
    by_text = {row["text"]: row for row in rows}
    assert len(rows) == len(by_text) == 24
    for row in rows:
        other = by_text[row["flipped"]]  # it is of the set, and its second clause says the opposite
        assert other["flipped"] == row["text"] and other["polarity"] == 2 - row["polarity"]
        for key in ("connective", "positive", "negative"):
            assert other[key] == row[key]
        assert row["second"] == row["positive" if row["polarity"] == 2 else "negative"]
        assert row["text"].endswith(f"{row['second']}.")
    row = by_text["The movie was sad but the ending was fun."]
    assert (row["id"], row["polarity"]) == ("sad-fun", 2)
    assert row["without_but"] == "The movie was sad the ending was fun."
    assert "The movie was sad and the ending was fun." in by_text


def test_expectations_by_hand(probes):
    # the likeliest class is negative, .30, the likeliest polarity positive, .28 + .22
    text = np.array([.05, .30, .15, .28, .22])
    without = np.array([.05, .20, .15, .35, .25])  # less sure of that class, surer of that polarity
    negative, neutral = np.array([.4, .2, .2, .1, .1]), np.array([.1, .1, .6, .1, .1])
    names = ("follows_second_clause", "swaps_with_clauses", "less_confident_without_but")
    for *arguments, expected in ((text, without, negative, 2, [True, True, True]),
                                 (text, text, negative, 0, [False, False, False]),
                                 (text, without, text, 2, [True, False, True]),
                                 (text, without, neutral, 2, [True, False, True]),
                                 (neutral, text, negative, 2, [False, False, True])):
        found = probes.expectations(*arguments)
        assert [found[name] for name in names] == expected


@pytest.mark.parametrize("condition, polarity, negated, affirmed, right", [
    ("not", 2, "Neg", "Pos", True), ("not", 2, "Neutral", "Pos", False),
    ("hardly", 0, "Pos", "Neg", True), ("never", 0, "Neutral", "Neg", True),
    ("n't", 0, "Neg", "Neg", False), ("out of scope", 2, "Pos", "Pos", True),
    ("out of scope", 2, "Neg", "Pos", False), ("out of scope", 0, "Pos", "Pos", True)])
def test_negation_by_hand(probes, condition, polarity, negated, affirmed, right):
    p = {"Neg": [.1, .5, .2, .1, .1], "Neutral": [.1, .1, .6, .1, .1], "Pos": [.0, .1, .2, .3, .4]}

    def ask(texts):
        negation = "did not" if condition == "out of scope" else condition
        assert [negation in text for text in texts] == [True, False]
        return np.array([p[negated], p[affirmed]])

    row = probes.negation_row(condition, "odd", polarity, ask)
    assert row["right"] == right


def test_polarity_words_are_those_of_a_plain_count(probes, rng):
    weights = {"superb": 2, "awful": -2, "film": 0, "not": -1, "the": 1, "rare": 2}
    rows = []
    for i in range(300):
        words = [*rng.choice(["superb", "awful", "film", "not", "the"], 3), *["Rare"] * (i < 19)]
        label = int(np.clip(2 + sum(weights[word.lower()] for word in words), 0, 4))
        text = f"{' '.join(words)}, {words[0]}-{words[-1]}"
        rows.append({"id": i, "text": text.upper() if i % 2 else text, "label": label})
    expected, mean = {}, np.mean([row["label"] for row in rows])
    for word in weights:
        labels = [row["label"] for row in rows if word in row["text"].lower()]
        if len(labels) >= 20 and abs(np.mean(labels) - mean) >= .5 and word != "the":
            expected[word] = np.mean(labels) - mean
    assert probes.polarity_words(rows) == pytest.approx(expected)
    assert {"superb", "awful"} <= expected.keys() and len(expected) < 4
    assert not probes.FUNCTION_WORDS & {"not", "no", "never", "nor", "n", "t", "hardly", "nothing"}


def test_credit_by_hand_and_its_chance_by_all_draws(probes):
    row = explained("the dullest film.", ["the", "dull", "est", "film", "."], [.1, 0, -.2, .4, .3])
    dull = probes.credit_of(row, {"dullest", "awful"})
    assert dull["share"] == pytest.approx(.2) and dull["token_share"] == 2 / 5
    assert not dull["misses"]  # "est" is the third largest
    missing = [not {1, 2} & set(draw) for draw in combinations(range(5), 3)]
    assert dull["chance"] == np.mean(missing)
    assert probes.credit_of(row, {"the"})["misses"]
    nothing = probes.credit_of(row, {"fine"})
    assert nothing == {"share": 0, "token_share": 0, "misses": None, "chance": None}


def test_cases_by_rule(probes):
    texts = ("But a b", "a but b", "a or b", "b but a")
    p = [[.2, .5, .1, .1, .1], [.3, .4, .1, .1, .1], [.3, .35, .15, .1, .1], [.1, .6, .1, .1, .1]]
    # Polarity cosines -1, .6, 0, .8. Of KD's own class, 4 where it is wrong, the last would be -.8.
    kd_phi, predicted = ([-1, 0, 0], [3, 4, 0], [0, 1, 0], [4, 3, 0]), (4, 1, 1, 4)
    bert = [explained(text, text.split(), [1, 0, 0], probabilities=q) for text, q in zip(texts, p)]
    kd = [explained(text, text.split(), phi, predicted=c, label=1)
          for text, phi, c in zip(texts, kd_phi, predicted)]
    found = {case["rule"]: (case["id"], case["value"]) for case in probes.pick_cases(bert, kd)}
    assert found == {"borderline": ("a or b", pytest.approx(.05)),
                     "contrastive": ("a but b", pytest.approx(.6)),
                     "kd_right_far_from_bert": ("a or b", 0)}


def test_measures_of_a_planted_model(probes, planted):
    """p(class 4) is .3, and superb adds .3, dull -.15, "but" -.02; the rest is nearly class 0."""
    model, tokenizer = planted
    ask = partial(common.predict_proba, model, tokenizer)
    sentences, measured = probes.contrast_sentences(["superb"], ["dull"]), {}
    for sentence in sentences:
        row = common.explain_shap(model, tokenizer, sentence["text"])
        row |= {"text": sentence["text"], "predicted": 0}
        found = probes.contrast_row(sentence, row, ask)
        ratio = pytest.approx(1 / 3 if sentence["polarity"] == 0 else 2 / 3)
        assert found["post_but_ratio"] == ratio and found["polarity_post_but_ratio"] == ratio
        assert found["equal_credit_ratio"] == .5  # the movie was superb, the ending was dull
        neutral = probes.contrast_row(sentence, row | {"predicted": 2}, ask)  # no phi for class 2
        assert np.isnan(neutral["post_but_ratio"]) and neutral["polarity_post_but_ratio"] == ratio
        row["attributions"] *= [[word != sentence["second"]] for word in row["tokens"]]
        assert probes.contrast_row(sentence, row, ask).get("misses_second_adjective", True)
        measured[sentence["connective"], sentence["polarity"]] = found
    dull, superb = measured["but", 0], measured["but", 2]  # .43, .45 without "but": class 0 always
    assert dull["right_label"] and dull["less_confident_without_but"] and not superb["right_label"]
    assert not dull["swaps_with_clauses"]
    assert not dull["misses_second_adjective"] and dull["chance_misses"] == pytest.approx(7 / 10)
    assert "right_label" not in measured["and", 0]
    table5 = probes.example_rows(sentences[1], ask)
    assert [row["polarity"] for row in table5] == ["Neg"] * 3
    assert [row["confidence"] for row in table5] == pytest.approx([.568, .548, .568])
