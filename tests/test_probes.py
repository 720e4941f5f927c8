"""05: every formula worked by hand or by brute force, and SHAP on a planted model."""
from functools import partial
from itertools import combinations

import numpy as np
import pytest

import common
from test_evaluate import make_artifacts


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


def test_variants_of_a_contrast_sentence(probes):
    assert probes.contrast_sentence("fun", "sad", 2) == {
        "id": "sad-fun", "and_id": "sad-fun-and", "positive": "fun", "negative": "sad",
        "second_adjective": "fun", "second_polarity": 2,
        "text": "The movie was sad but the ending was fun.",
        "without_but": "The movie was sad the ending was fun.",
        "flipped": "The ending was fun but the movie was sad.",
        "with_and": "The movie was sad and the ending was fun."}
    other = probes.contrast_sentence("fun", "sad", 0)
    assert other["text"] == "The movie was fun but the ending was sad."
    assert other["flipped"] == "The ending was sad but the movie was fun."
    assert (other["id"], other["second_adjective"]) == ("fun-sad", "sad")


def test_expectations_by_hand(probes):
    # the likeliest class is negative, .30, the likeliest polarity positive, .28 + .22
    text = np.array([.05, .30, .15, .28, .22])
    without = np.array([.05, .25, .35, .28, .07])  # surer of no polarity
    surer = np.array([.05, .20, .15, .35, .25])  # less sure of that class, surer of that polarity
    negative, neutral = np.array([.4, .2, .2, .1, .1]), np.array([.1, .1, .6, .1, .1])
    names = ("follows_second_clause", "swaps_with_clauses", "less_confident_without_but")
    for *arguments, expected in ((text, without, negative, 2, [True, True, True]),
                                 (text, text, negative, 0, [False, False, False]),
                                 (text, surer, text, 2, [True, False, False]),
                                 (text, without, neutral, 2, [True, False, True]),
                                 (neutral, text, negative, 2, [False, False, True])):
        found = probes.expectations(*arguments)
        assert [found[name] for name in names] == expected
    drop = probes.expectations(text, without, negative, 2)["confidence_drop_without_but"]
    assert drop == pytest.approx(.15)


@pytest.mark.parametrize("polarity, predicted, not_negated, right", [
    (2, "Neg Neutral Pos Neg Pos", "Pos", [True, False, False, True, True]),
    (0, "Pos Neutral Neg Pos Neg", "Neg", [True, True, False, True, True]),
    (2, "Neg Neg Neg Neg Pos", "Neutral", [True, True, True, True, False]),
    (0, "Neg Neg Neg Neg Pos", "Pos", [False] * 5),  # the last two are not the adjective's own
    (2, "Neutral Neutral Neutral Neutral Neutral", "Neutral", [False] * 5),
    (0, "Neutral Neutral Neutral Neutral Neutral", "Neutral", [True] * 4 + [False])])
def test_negation_by_hand(probes, polarity, predicted, not_negated, right):
    p = {"Neg": [.1, .5, .2, .1, .1], "Neutral": [.1, .1, .6, .1, .1], "Pos": [.0, .1, .2, .3, .4]}

    def ask(texts):
        signs = ("was not odd", "never", "wasn't", "hardly", "did not see", "and I saw")
        assert all(sign in text for sign, text in zip(signs, texts))
        return np.array([p[name] for name in [*predicted.split(), not_negated]])

    assert list(probes.negation_row("odd", polarity, ask).values()) == ["odd", *right]


def test_polarity_words_by_hand(probes):
    texts = [("Superb, superb film", 4), ("the awful-film", 0), ("the film", 2)] * 20
    texts += [("rare rare", 4)] * 19  # in one sentence too few
    rows = [{"id": i, "text": text, "label": label} for i, (text, label) in enumerate(texts)]
    mean = (20 * 4 + 20 * 2 + 19 * 4) / 79  # 2.48; "film" has 2, "the" 1
    assert probes.sentiment_words(rows) == pytest.approx({"superb": 4 - mean, "awful": -mean})
    assert not probes.FUNCTION_WORDS & {"not", "no", "never", "nor", "n", "t", "hardly", "nothing"}


def test_shares_by_hand_and_their_chance_by_all_draws(probes):
    row = explained("the dullest film.", ["the", "dull", "est", "film", "."], [.1, 0, -.2, .4, .3])
    dull = probes.credit_of(row, {"dullest", "awful"})
    assert dull["share"] == pytest.approx(.2) and dull["token_share"] == 2 / 5
    assert not dull["not_in_top"]  # "est" is the third largest
    missing = [not {1, 2} & set(draw) for draw in combinations(range(5), 3)]
    assert dull["chance_not_in_top"] == np.mean(missing)
    assert probes.credit_of(row, {"the"})["not_in_top"]
    nothing = probes.credit_of(row, {"fine"})
    assert nothing == {"share": 0, "token_share": 0, "not_in_top": None, "chance_not_in_top": None}


def test_wrong_reasons_are_of_right_labels_with_such_words(probes):
    row = explained("the dull film", ["the", "dull", "film"], [.1, 0, .2], label=1)
    found = probes.wrong_reason(True, probes.credit_of(row, {"dull"}, k=1))
    assert [*found.values()] == pytest.approx([True, 2 / 3, 1 / 3])
    for label, words in ((0, {"dull"}), (1, {"bad"})):
        found = probes.words_row(row | {"label": label}, words)
        assert [*found.values()][-3:] == [None] * 3
    nothing = probes.words_row(explained("\u200b", [], [], label=1), {"dull"})  # no wordpiece
    assert set(common.jsonable(nothing).values()) == {"\u200b", None}


def test_measures_of_a_planted_model(probes, planted):
    """p(class 4) is .3, and superb adds .3, dull -.15, "but" -.02; the rest is nearly class 0."""
    model, tokenizer = planted
    ask, measured = partial(common.predict_proba, model, tokenizer), {}
    for polarity in (0, 2):
        sentence, rows = probes.contrast_sentence("superb", "dull", polarity), {}
        for key, text in (("id", "text"), ("and_id", "with_and")):
            row = common.explain_shap(model, tokenizer, sentence[text])
            rows[sentence[key]] = row | {"text": sentence[text], "predicted": 0}
        row = rows[sentence["id"]]
        found = measured[polarity] = probes.contrast_row(sentence, rows, ask)
        ratio = pytest.approx(1 / 3 if polarity == 0 else 2 / 3)
        assert found["post_but_ratio"] == ratio and found["but_minus_and"] == pytest.approx(0)
        assert found["uniform_ratio"] == .5  # the movie was superb, the ending was dull
        assert found["ratio_over_uniform"] == found["post_but_ratio"] - .5
        phi = np.eye(5)[[0, 0, 0, 2, 2, 2, 2, 2, 0, 2]]  # three quarters before "and"
        row_and = rows[sentence["and_id"]] | {"attributions": phi, "predicted": 2}
        changed = {sentence["id"]: row | {"predicted": 2}, sentence["and_id"]: row_and}
        found = probes.contrast_row(sentence, changed, ask)
        assert np.isnan(found["post_but_ratio"])  # there is no phi for class 2
        assert found["but_minus_and"] == pytest.approx((1 if polarity == 0 else 2) / 3 - .25)
        row["attributions"] *= [[word != sentence["second_adjective"]] for word in row["tokens"]]
        found = probes.contrast_row(sentence, rows, ask)
        assert found["cue_not_in_top3"] == (True if polarity == 0 else None)
    dull, superb = measured[0], measured[2]  # .43, .45 without "but": class 0 always
    assert dull["less_confident_without_but"]
    assert dull["confidence_drop_without_but"] == pytest.approx(.02)
    assert not dull["swaps_with_clauses"]
    of_cue = ("cue_not_in_top3", "chance_cue_not_in_top3", "cue_not_in_top3_over_chance")
    assert [dull[name] for name in of_cue] == pytest.approx([False, .7, -.7])
    assert [superb[name] for name in of_cue] == [None] * 3
    table5 = probes.example_rows(sentence, ask)
    assert [row["polarity"] for row in table5] == ["Neg"] * 3
    assert [row["confidence"] for row in table5] == pytest.approx([.568, .548, .568])


def test_the_stage(probes, smoke, tmp_path, call, monkeypatch):
    make_artifacts(tmp_path, smoke, ("bert_42", "bert_43"), 3)

    def run(*flags, status=0):
        found, _, error = call("05", "--artifacts", tmp_path, "--data", smoke / "text",
                               "--adjectives", "1", *flags)
        assert found == status, error
        measures = (tmp_path / "measures").glob("*.jsonl")
        return error or {path.stem: common.read_jsonl(path) for path in measures}

    found = run("--model", "bert", "--seed", "43")
    assert {measure: len(rows) for measure, rows in found.items()} == {
        "contrast.bert_43": 2, "example.bert_43": 3, "negation.bert_43": 2, "words.bert_43": 3}
    assert all(row["model"] == "bert" and row["seed"] == 43 for row in found["words.bert_43"])
    path = tmp_path / "probes/bert_43.shap.jsonl"
    whole = path.read_text()
    assert [row["id"] for row in common.read_jsonl(path)] == [
        "excellent-dull", "dull-excellent", "weak-joyful", "excellent-dull-and",
        "dull-excellent-and", "weak-joyful-and"]
    path.write_text(whole[:-40])  # interrupted while it wrote the last line

    monkeypatch.setattr(probes, "post_but_ratio", lambda *_: 7)
    found = run()  # of all models
    assert path.read_text() == whole
    assert [found[f"contrast.bert_{seed}"][1]["post_but_ratio"] for seed in (42, 43)] == [7, 7]
    assert "has adjectives 1, not 2" in run("--adjectives", "2", status=2)
    assert "no SHAP explanations of bert_44" in run("--model", "bert", "--seed", "44", status=2)
