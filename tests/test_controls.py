"""The controls: each against a case whose answer is known."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import permutation_test

import common


def explained(phi, predicted, text="a b"):
    return {"attributions": phi, "predicted": predicted, "text": text, "tokens": ["t"] * len(phi)}


# --- Statistics --------------------------------------------------------------------------------------------------------------

def test_the_permutation_test_is_scipys(rng):
    a, b = rng.normal(size=(2, 40)) + [[0.3], [0.0]]
    ours = common.paired(a, b)
    theirs = permutation_test((a - b,), np.mean, permutation_type="samples", n_resamples=20_000, rng=1).pvalue
    assert ours["p"] == pytest.approx(theirs, abs=0.015) and ours["mean"] == pytest.approx((a - b).mean())
    assert ours["smallest"] == pytest.approx(2.8 * np.std(a - b, ddof=1) / 40**0.5)


def test_the_permutation_test_is_exact_on_few(rng):
    d = np.array([1.0, 2.0, 3.0, 4.0])  # of the 16 sign patterns, 2 are as large: p = 0.125
    assert common.paired(d, 0 * d)["p"] == pytest.approx(0.125, abs=0.01)


def test_the_permutation_test_raises_few_false_alarms(rng):
    alarms = [common.paired(rng.exponential(size=60) - 1, 1 - rng.exponential(size=60), draws=400)["p"] < 0.05
              for _ in range(300)]
    assert np.mean(alarms) < 0.09  # 0.05 + 3 standard errors


def test_paired_leaves_out_what_is_undefined_in_either():
    got = common.paired([1, 2, np.nan, 4], [0, np.nan, 1, 2])
    assert got["n"] == 2 and got["mean"] == 1.5
    assert common.paired([1.0], [0.0])["p"] is None
    assert common.paired(np.ones(5), np.ones(5))["p"] == 1 and common.paired(np.ones(5), np.ones(5))["d_z"] is None


def test_mcnemar_by_hand():
    first, second = np.array([1] * 6 + [0] * 1 + [1] * 20), np.array([0] * 6 + [1] * 1 + [1] * 20)
    assert common.paired_rates(first, second)["p"] == pytest.approx(2 * (1 + 7) / 2**7)  # 6 against 1 of 7
    never = common.paired_rates([1, 0] * 75, [1, 0] * 75)
    assert never["p"] == 1 and never["mean"] == 0 and never["low"] == -never["high"] == pytest.approx(-1.96 / 152)
    assert common.paired_rates([], [])["n"] == 0


def test_the_interval_of_a_difference_of_rates_covers(rng):
    def covers(n):
        both = rng.random(n)  # p(first) 0.5, p(second) 0.4, correlated
        s = common.paired_rates(both < 0.5, np.where(rng.random(n) < 0.3, rng.random(n) < 0.4, both < 0.4))
        return s["low"] <= 0.1 <= s["high"]
    assert 0.91 < np.mean([covers(80) for _ in range(200)])


def test_holm_by_hand():
    assert common.holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06], nan_ok=True)
    assert common.holm([0.9, 0.8]) == [1, 1]


# --- Agreement -----------------------------------------------------------------------------------------------------------------

def test_random_attributions_agree_by_chance(scripts, rng):
    sizes = rng.integers(5, 40, 400)
    first, second = ([set(common.top_k(rng.normal(size=n), 10)) for n in sizes] for _ in range(2))
    got = scripts["04"].agreement(first, second, sizes, 10)
    assert got["jaccard_corrected"]["low"] < 0 < got["jaccard_corrected"]["high"]
    assert got["overlap_corrected"]["low"] < 0 < got["overlap_corrected"]["high"]
    assert got["n_not_longer_than_k"] == (sizes <= 10).sum() == 400 - got["jaccard_corrected"]["n"]
    same = scripts["04"].agreement(first, first, sizes, 10)
    assert same["jaccard_corrected"]["mean"] == same["overlap_corrected"]["mean"] == 1


def test_identical_models_have_ceiling_1_and_drift_0(scripts, rng):
    ones = np.ones(20)
    assert scripts["04"].drift([ones, ones], ones)["mean"] == 0 and scripts["04"].drift([], ones) is None
    far = scripts["04"].drift([ones], rng.uniform(0, 0.5, 20))
    assert far["low"] > 0 and far["p"] < 0.01


def test_permuted_classes_move_the_own_class_and_nothing_else(scripts, rng):
    """A model and the same model that only predicts another class: the explanations are alike but for the class asked."""
    phi = [rng.normal(size=(6, 5)) for _ in range(30)]
    a = [explained(p, 1) for p in phi]
    b = [explained(p, 3) for p in phi]
    choices = scripts["04"].class_choices(a, b, a)
    cosines = {what: np.array([common.cosine(x, y) for x, y in phis]) for what, phis in choices.items()}
    assert cosines["common_class"] == pytest.approx(1) and cosines["polarity"] == pytest.approx(1)
    assert abs(cosines["own"].mean()) < 0.3
    assert [x == y for x, y in scripts["04"].of_choices(choices, 3)["polarity"]] == [True] * 30


def test_polarity_is_the_attribution_of_the_expected_class(scripts, planted):
    model, tokenizer = planted
    row = {"predicted": 4, **common.explain_shap(model, tokenizer, ["the superb film"])[0]}
    assert scripts["04"].polarity_phi(row) == pytest.approx(np.array([0, 0.3, 0.05]) * 4, abs=1e-9)  # from p(0) to p(4): 4 steps


def test_ties(scripts):
    tie, none = np.array([0.5, 0.2, 0.2, 0.1]), np.array([0.5, 0.3, 0.2, 0.1])
    tied, over = scripts["04"].ties([tie, none, none[:2]], [none, none, none[:2]], 2)
    assert list(tied) == [True, False, False]  # a sentence of k tokens has no k-th place to fight over
    assert over[1:] == pytest.approx([1, 1]) and 1 / 3 < over[0] < 1  # {0, 1} against {0, 1} or {0, 2}


# --- Removal -------------------------------------------------------------------------------------------------------------------

def test_random_removal_is_the_mean_over_what_could_go(scripts, planted):
    model, tokenizer = planted
    row = {"text": "the superb film was excellent", "predicted": 4}
    row["probabilities"] = common.predict_proba(model, tokenizer, [row["text"]])[0]
    row |= common.explain_shap(model, tokenizer, [row["text"]])[0]
    drop, flip = scripts["04"].random_removal(model, tokenizer, "shap", [row], 1, draws=4000)
    assert drop[0] == pytest.approx((0.3 + 0.05 + 0.2) / 5, abs=0.005) and flip[0] == 0  # the five words' weights
    row["token_spans"] = row["spans"]
    by_word, _ = scripts["04"].random_removal(model, tokenizer, "lime", [row | {"text": "superb superb film"} | {
        "token_spans": [[0, 6], [7, 13], [14, 18]], "probabilities": common.predict_proba(model, tokenizer, ["superb superb film"])[0]}],
        1, draws=50)
    assert 0.05 < by_word[0] < 0.6  # both occurrences of "superb" go at once: 0.6, or "film": 0.05


def test_against_random_is_a_paired_lift(scripts):
    got = scripts["04"].against_random(np.array([0.3, 0.2]), np.array([True, False]), np.array([0.1, 0.1]), np.array([0.0, 0.5]))
    assert got["lift"]["mean"] == pytest.approx(0.15) and got["flip_lift"]["mean"] == pytest.approx(0.25)


def test_four_meanings_of_remove(scripts, tiny):
    model, tokenizer = tiny
    cut = scripts["04"].replace_by(7)
    assert cut((1, 2, 3), [0, 2]) == (7, 2, 7) and cut((1, 2), []) == (1, 2)
    text = "the music was superb but the plot was dull"
    row = {"text": text, "predicted": 0, "probabilities": [0.5, 0.2, 0.1, 0.1, 0.1], **common.explain_shap(model, tokenizer, [text], 60)[0]}
    mask = model.get_input_embeddings().weight[tokenizer.mask_token_id].clone()
    args = SimpleNamespace(reference="embedding", background=50, seed=42)
    got = scripts["04"].removal_rows(model, tokenizer, [row], common.shap_reference(model, tokenizer, [{"text": text}], args))
    assert [r["operator"] for r in got] == ["delete", "mask", "unk", "embedding"]
    assert len({r["confidence_drop"]["mean"] for r in got}) == 4 and got[0]["margin"]["mean"] == pytest.approx(0.3)
    assert torch.equal(model.get_input_embeddings().weight[tokenizer.mask_token_id], mask)


def test_another_setting_that_changes_nothing(scripts, tiny):
    model, tokenizer = tiny
    text = "a wonderful film, but the ending is a bore"
    row = {"text": text, "predicted": 0, "probabilities": [0.5, 0.2, 0.1, 0.1, 0.1], **common.explain_shap(model, tokenizer, [text], 60)[0]}
    got = scripts["04"].other_setting(model, tokenizer, [row] * 12, [row] * 12)
    assert got["top10_kept"]["mean"] == 1 and got["drop_change"]["mean"] == 0
    assert got["flip_change"]["mean"] == 0 and got["flip_change"]["low"] < 0 < got["flip_change"]["high"]  # 12 sentences cannot say none


# --- Outputs -------------------------------------------------------------------------------------------------------------------

def test_calibration_by_hand(scripts):
    p = np.array([[0.55, 0.45, 0, 0, 0], [0.55, 0.45, 0, 0, 0], [0.95, 0.05, 0, 0, 0], [1.0, 0, 0, 0, 0]])
    # bin .5: confidence .55, accuracy .5; bin .9: mean confidence .975, accuracy 1
    assert scripts["04"].expected_calibration_error(np.array([0, 1, 0, 0]), p) == pytest.approx(0.5 * 0.05 + 0.5 * 0.025)


def test_fidelity_by_hand(scripts):
    p, q = np.array([[0.5, 0.5, 0, 0, 0]]) + 1e-12, np.array([[0.25, 0.75, 0, 0, 0]]) + 1e-12
    got = scripts["04"].fidelity(p, q)
    assert got["kl"]["mean"] == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3), abs=1e-6)
    assert scripts["04"].fidelity(p, p)["kl"]["mean"] == pytest.approx(0) and got["same_class"]["n"] == 1


def test_lime_noise(scripts):
    run = {"words": list("abc"), "r2": 0.5}
    got = scripts["04"].lime_noise([{"id": "x", **run}], [{"id": "x", "runs": [run, {"words": list("abd"), "r2": 0.7}]}])
    assert got["jaccard@3"]["mean"] == pytest.approx((1 + 0.5 + 0.5) / 3) and got["r2"]["mean"] == pytest.approx(1.7 / 3)


def test_one_thing_changed(scripts, rng):
    made = {"a": ("x", "CE", 42), "b": ("x", "KD", 42), "c": ("y", "KD", 42), "d": ("y", "CE", 43)}
    by_model, by_pair = {n: rng.integers(0, 2, 30) for n in made}, {("bert", n): rng.normal(size=30) for n in made}
    measures = {m: by_model if m in ("accuracy", "confidence_drop") else by_pair
                for m in ("accuracy", "confidence_drop", "jaccard", "cosine", "cosine_polarity")}
    rows = scripts["04"].one_thing_changed(made, list(made), measures)
    assert [(r["first"], r["second"], r["differ_in"]) for r in rows] == [("a", "b", "objective"), ("b", "c", "initialisation")]


def test_the_family_of_comparisons_is_corrected_together(scripts, rng):
    keys = {"accuracy": common.MODELS, "confidence_drop": common.MODELS, "flip_rate": common.MODELS,
            "short_token_ratio": common.MODELS, "jaccard": common.PAIRS, "overlap": common.PAIRS, "cosine": common.PAIRS}
    measures = {m: {k: rng.integers(0, 2, 150) for k in ks} for m, ks in keys.items()}
    measures["cosine"] = {k: rng.normal(size=150) + i for i, k in enumerate(common.PAIRS)}
    rows = common.compare(scripts["04"].COMPARISONS, measures)
    assert len(rows) == 21 and all(r["p_holm"] >= r["p"] for r in rows)
    assert all(r["p_holm"] < 0.01 for r in rows if r["measure"] == "cosine")
    first = rows[0]
    assert first["p"] == common.paired_rates(*(measures["accuracy"][m] for m in ("kd_tinybert", "bert")))["p"]  # McNemar's


def test_the_ratio_of_two_spreads(rng):
    a = rng.normal(size=2000)
    got = common.sd_ratio(2 * a + 3, a)
    assert [got["mean"], got["low"], got["high"]] == pytest.approx([2, 2, 2])
    apart = common.sd_ratio(rng.normal(size=400), rng.normal(size=400))
    assert apart["low"] < 1 < apart["high"] and common.sd_ratio([1.0, 2.0], [1.0, 1.0])["n"] == 0
