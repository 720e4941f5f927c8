"""The paper's formulas: hand-worked cases, and independent computations."""
from functools import partial
from itertools import combinations
from math import exp, log

import numpy as np
import pytest
import torch
from conftest import WEIGHTS
from scipy.stats import hypergeom
from sklearn.metrics import accuracy_score

import common


# --- 3.5 -----------------------------------------------------------------------------------------------------------------

def test_distillation_loss_is_the_written_out_value(scripts):
    z_s, z_t = torch.tensor([[2.0, 0.0, 0.0, 0.0, 0.0]]), torch.tensor([[0.0, 4.0, 0.0, 0.0, 0.0]])
    ce = -log(exp(2) / (exp(2) + 4))
    e, d = exp(1), exp(2)  # the logits over T = 2: (1, 0, 0, 0, 0) and (0, 2, 0, 0, 0)
    p_s = [e / (e + 4)] + [1 / (e + 4)] * 4
    p_t = [1 / (d + 4), d / (d + 4)] + [1 / (d + 4)] * 3
    kl = sum(t * log(t / s) for t, s in zip(p_t, p_s))
    loss = scripts["02"].distillation_loss(z_s, z_t, torch.tensor([0]))
    assert loss.item() == pytest.approx(0.5 * ce + 0.5 * 4 * kl, rel=1e-6)


def test_distillation_loss_is_a_mean_over_the_batch_and_0_for_equal_logits(scripts):
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(6, dtype=torch.long)
    kd = scripts["02"].distillation_loss
    assert kd(z, z, y, alpha=0, beta=1).item() == pytest.approx(0, abs=1e-6)
    t = z.flip(0) * 2
    singly = np.mean([kd(z[i:i + 1], t[i:i + 1], y[:1]).item() for i in range(6)])
    assert kd(z, t, y).item() == pytest.approx(singly, rel=1e-5)


# --- 3.7 (1) -------------------------------------------------------------------------------------------------------------

def explained(text, label=4, **more):
    return {"id": text, "text": text, "label": label, "predicted": 4, **more}


def test_confidence_drop_and_flips_of_a_planted_model(scripts, planted):
    model, tokenizer = planted
    texts = ["the superb film was excellent", "a film but dull"]  # p(4) = 0.85 and 0.18
    rows = []
    for text in texts:
        p = common.predict_proba(model, tokenizer, [text])[0]
        rows.append(explained(text, **common.explain_shap(model, tokenizer, [text])[0]) | {"predicted": int(p.argmax()), "probabilities": p})
    assert [r["predicted"] for r in rows] == [4, 0]
    units = [scripts["04"].ranked_units("shap", row) for row in rows]
    drop, flip, emptied = scripts["04"].removal(model, tokenizer, rows, units, 1)
    # without "superb" p(4) falls by 0.3; without "dull" p(0) falls by 0.15
    assert drop == pytest.approx([0.3, 0.15], abs=1e-9) and not flip.any() and emptied == 0
    drop, flip, _ = scripts["04"].removal(model, tokenizer, rows, units, 2)
    # without "superb" and "excellent" p(4) = 0.35 < p(0): a flip; without "dull" and "film" p(0) loses 0.10, no flip
    assert drop == pytest.approx([0.5, 0.10], abs=1e-9) and list(flip) == [True, False]
    assert scripts["04"].removal(model, tokenizer, rows, units, 99)[2] == 2


def test_lime_removes_every_occurrence_of_a_word(scripts, planted):
    model, tokenizer = planted
    text = "superb superb film"
    row = explained(text, **common.explain_lime(model, tokenizer, text, 4, 200), token_spans=common.token_spans(tokenizer, text)[1])
    assert scripts["04"].ranked_units("lime", row)[0] == [0, 1]


def test_short_token_ratio(scripts):
    assert scripts["04"].short_token_ratio(["superb", "was", "it", "film"]) == 0.5
    assert np.isnan(scripts["04"].short_token_ratio([]))


# --- 3.7 (2) -------------------------------------------------------------------------------------------------------------

def test_jaccard_and_overlap_by_hand(scripts):
    assert scripts["04"].jaccard({1, 2, 3}, {2, 3, 4}) == 0.5
    assert scripts["04"].overlap({1, 2, 3}, {2, 3, 4}, 3) == pytest.approx(2 / 3)
    assert scripts["04"].overlap({1, 2}, {1, 2}, 10) == 0.2 and np.isnan(scripts["04"].jaccard(set(), set()))


@pytest.mark.parametrize("n, k", [(1, 3), (3, 3), (5, 3), (6, 2), (7, 5)])
def test_chance_agreement_is_the_mean_over_all_pairs_of_sets(scripts, n, k):
    sets = [set(c) for c in combinations(range(n), min(n, k))]
    pairs = [(a, b) for a in sets for b in sets]
    got = scripts["04"].chance_agreement(n, k)
    assert got[0] == pytest.approx(np.mean([len(a & b) / len(a | b) for a, b in pairs]))
    assert got[1] == pytest.approx(np.mean([len(a & b) / k for a, b in pairs]))


def test_chance_agreement_is_hypergeometric(scripts):
    m = np.arange(11)
    assert scripts["04"].chance_agreement(23, 10)[0] == pytest.approx((hypergeom(23, 10, 10).pmf(m) * m / (20 - m)).sum())
    assert scripts["04"].chance_agreement(11, 10)[0] == pytest.approx(0.835, abs=5e-4)  # as field practice has it


def test_top_k_is_by_size_and_ties_keep_the_order():
    assert list(common.top_k([0.1, -0.5, 0.5, 0.0, -0.1], 4)) == [1, 2, 0, 4]
    assert common.remove((7, 8, 9), [1]) == (7, 9)


def test_words_sum_their_wordpieces(scripts):
    row = {"text": "so so unreal!", "predicted": 0, "spans": [[0, 2], [3, 5], [6, 8], [8, 12], [12, 13]],
           "attributions": [[v, 0, 0, 0, 0] for v in (0.1, 0.2, 0.3, -0.1, 9)]}
    assert scripts["04"].word_attributions(row) == pytest.approx({"so": 0.3, "unreal": 0.2})


# --- 3.7 (3), (5) ----------------------------------------------------------------------------------------------------------

def test_cosine_by_hand():
    assert common.cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(0.5**0.5)
    assert np.isnan(common.cosine(np.zeros(2), np.ones(2)))


def test_every_outcome_has_one_bucket(scripts):
    names = {scripts["04"].bucket_of((a, b, c)) for a in (0, 1) for b in (0, 1) for c in (0, 1)}
    assert names == set(scripts["04"].BUCKETS) and len(names) == 8
    assert scripts["04"].bucket_of([True, False, True]) == "bert_kd_pair"


def test_scores_against_a_confusion_matrix_worked_by_hand(scripts, rng):
    gold, predicted = rng.integers(5, size=300), rng.integers(4, size=300)  # class 4 is never predicted
    got = scripts["04"].scores(gold, predicted, predicted)
    f1 = []
    for c in range(5):
        tp, fp, fn = ((predicted == c) & (gold == c)).sum(), ((predicted == c) & (gold != c)).sum(), ((predicted != c) & (gold == c)).sum()
        f1.append(2 * tp / (2 * tp + fp + fn))
    assert got["accuracy"]["mean"] == accuracy_score(gold, predicted)
    assert got["weighted_f1"]["mean"] == pytest.approx(np.average(f1, weights=np.bincount(gold)))
    assert got["macro_f1"]["mean"] == pytest.approx(np.mean(f1)) and got["class_f1"] == pytest.approx(f1)
    assert got["weighted_f1"]["low"] < got["weighted_f1"]["mean"] < got["weighted_f1"]["high"]
    assert got["weighted_f1_minus_bert"]["low"] == got["weighted_f1_minus_bert"]["high"] == 0
    better = scripts["04"].scores(gold, np.where(rng.random(300) < 0.5, gold, predicted), predicted)
    assert better["weighted_f1_minus_bert"]["low"] > 0


def test_projection_keeps_angles_and_is_reproducible(scripts, rng):
    vectors = {m: [rng.normal(size=n) for n in (3, 5, 4, 6)] for m in ("bert", "distilbert", "kd_tinybert")}
    got = scripts["04"].projection(vectors)
    assert got["angle_to_first"]["bert"] == pytest.approx([0] * 4, abs=1e-5)
    assert np.array_equal(got["points"]["bert"], scripts["04"].projection(vectors)["points"]["bert"])
    assert got["points"]["bert"].shape == (4, 2)


# --- 4: intervals ----------------------------------------------------------------------------------------------------------

def test_summary_leaves_out_nan_and_says_n(rng):
    got = common.summary([1.0, 2.0, np.nan, 3.0])
    assert (got["mean"], got["sd"], got["n"]) == (2, 1, 3) and got["low"] < 2 < got["high"]
    assert common.summary([np.nan])["n"] == 0
    none = common.summary(np.zeros(150))
    assert none["low"] == pytest.approx(0, abs=1e-12) and none["high"] == pytest.approx(0.025, abs=1e-3)  # Wilson, 0 of 150


def test_intervals_cover(rng):
    hits = [(s := common.summary(rng.exponential(size=100)))["low"] < 1 < s["high"] for _ in range(300)]
    assert 0.90 < np.mean(hits) < 0.98


# --- 3.6 -----------------------------------------------------------------------------------------------------------------

def test_shap_gives_a_planted_linear_model_its_weights(planted):
    model, tokenizer = planted
    got = common.explain_shap(model, tokenizer, ["the film was superb but dull ."])[0]
    truth = [WEIGHTS.get(t, 0) for t in got["tokens"]]
    assert got["attributions"][:, 4] == pytest.approx(truth, abs=1e-9)
    assert got["attributions"][:, 0] == pytest.approx([-w for w in truth], abs=1e-9)


def test_lime_ranks_a_planted_linear_model(planted):
    model, tokenizer = planted
    got = common.explain_lime(model, tokenizer, "the film was superb but dull .", 4, 3000)
    assert got["words"][:3] == ["superb", "dull", "film"] and got["r2"] > 0.98
    weights = dict(zip(got["words"], got["attributions"]))
    for word in ("superb", "dull", "film"):
        assert weights[word] == pytest.approx(WEIGHTS[word], abs=0.02)
    other = common.explain_lime(model, tokenizer, "the film was superb but dull .", 0, 3000)  # the label asked for, not label 1
    assert dict(zip(other["words"], other["attributions"]))["superb"] < -0.25


def test_shap_of_two_tokens_is_brute_force_shapley(tiny):
    model, tokenizer = tiny
    got = common.explain_shap(model, tokenizer, ["superb film"])[0]
    m = tokenizer.mask_token
    both, a, b, none = common.predict_proba(model, tokenizer, ["superb film", f"superb {m}", f"{m} film", f"{m} {m}"])
    assert got["attributions"][0] == pytest.approx(((both - b) + (a - none)) / 2, abs=1e-6)
    assert got["attributions"][1] == pytest.approx(((both - a) + (b - none)) / 2, abs=1e-6)
    assert np.abs(got["attributions"]).max() > 1e-3


def test_shap_by_turns_is_shap_of_each_alone(tiny):
    model, tokenizer = tiny
    texts = ["superb film", "the trailer was long but the music was superb", "...", "it 's not much of a plot , it 's dull !"]
    together = common.explain_shap(model, tokenizer, texts, 60)  # 60: too few to finish, so the order of ties matters
    for text, got in zip(texts, together):
        for key, value in common.explain_shap(model, tokenizer, [text], 60)[0].items():
            assert got[key] == (value if key in ("tokens", "spans") else pytest.approx(value, abs=1e-6))


def test_jobs_by_turns():
    def job(n, ask):
        np.random.seed(n)
        drawn = [np.random.rand()]
        for i in range(n):
            assert ask([f"{n}-{i}", "all"]) == [f"{n}-{i}!", "all!"]
            drawn.append(np.random.rand())
        return drawn

    asked = []

    def answer(questions):
        asked.append(questions)
        np.random.rand()  # what draws in between does not show
        return [q + "!" for q in questions]

    drawn = common.by_turns([partial(job, n) for n in (2, 0, 3)], answer)
    for n, got in zip((2, 0, 3), drawn):
        np.random.seed(n)
        assert got == [np.random.rand() for _ in range(n + 1)]
    assert asked == [["2-0", "all", "3-0", "all"], ["2-1", "all", "3-1", "all"], ["3-2", "all"]]
    with pytest.raises(ZeroDivisionError):
        common.by_turns([partial(job, 1), lambda ask: 1 / 0], answer)


@pytest.mark.parametrize("max_evals", [20, 60, 500])
def test_shap_adds_up_at_any_budget(tiny, max_evals):
    model, tokenizer = tiny
    text = "the trailer was long but the music was superb and the plot was dull"
    got = common.explain_shap(model, tokenizer, [text], max_evals)[0]
    total = got["attributions"].sum(0) + got["special_attributions"].sum(0) + got["base_values"]
    assert total == pytest.approx(common.predict_proba(model, tokenizer, [text])[0], abs=1e-5)


def test_the_reference_is_put_in_and_taken_out(tiny):
    model, tokenizer = tiny
    train = [{"text": "the film was dull"}, {"text": "a superb film"}]
    table = model.get_input_embeddings().weight
    before = table.detach().clone()
    pieces = tokenizer.convert_tokens_to_ids("the film was dull a superb film".split())
    args = type("Args", (), {"reference": "embedding", "background": 50, "seed": 42})
    with pytest.raises(KeyError), common.shap_reference(model, tokenizer, train, args):
        assert torch.allclose(table[tokenizer.mask_token_id], before[pieces].mean(0), atol=1e-6)
        raise KeyError
    assert torch.equal(table, before)
    args.reference = "mask"
    with common.shap_reference(model, tokenizer, train, args) as background:
        assert background is None and torch.equal(table, before)


def test_explanations_depend_on_the_seed_and_on_nothing_before(tiny):
    model, tokenizer = tiny
    text = "the music was superb but the plot was dull"
    first = common.explain_lime(model, tokenizer, text, 1, 50)
    common.explain_lime(model, tokenizer, "another one", 1, 50)
    assert common.explain_lime(model, tokenizer, text, 1, 50) == first
    assert common.explain_lime(model, tokenizer, text, 1, 50, seed=43) != first
    a, b = (common.explain_shap(model, tokenizer, [text], 100)[0]["attributions"] for _ in range(2))
    assert np.array_equal(a, b)


def test_lime_without_a_word(tiny):
    assert common.explain_lime(*tiny, "... !", 1, 50)["words"] == []
