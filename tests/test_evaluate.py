"""04: the formulas of 3.7 against cases worked by hand, enumeration, a planted model; the stage."""
from itertools import combinations, product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import common

EXCELLENT = "the superb film was excellent"  # the planted p(class 4) is 0.3 + 0.3 + 0.05 + 0.2
DULL = "a film but dull"  # 0.3 + 0.05 - 0.02 - 0.15; all the rest but 0.003 is p(class 0)


@pytest.fixture
def ev(scripts):
    return scripts["04"]


def explained(model, tokenizer, text, phi, **more):
    """A row as 03 writes it; phi: the attributions (n,) of the predicted class."""
    p = common.predict_proba(model, tokenizer, [text])[0]
    tokens, spans = common.token_spans(tokenizer, text)
    attributions = np.zeros((len(tokens), 5))
    attributions[:, p.argmax()] = phi
    return {"id": text, "text": text, "label": 4, "predicted": int(p.argmax()), "probabilities": p,
            "tokens": tokens, "spans": spans, "attributions": attributions, **more}


def lime(text, words, weights):
    return {"id": text, "text": text, "predicted": 4, "words": words, "attributions": weights,
            "polarity_words": words, "polarity_attributions": weights[::-1]}


# --- 3.7 (1) --------------------------------------------------------------------------------------

def test_faithfulness_of_a_planted_model(ev, planted):
    rows = [explained(*planted, EXCELLENT, [0, 0.3, -0.05, 0, 0.2]),
            explained(*planted, DULL, [0, -0.05, 0.02, 0.15])]
    planted[0].embeddings.weight[planted[1].mask_token_id] = -0.02
    found = pd.DataFrame(ev.faithfulness(*planted, {"shap": rows})).set_index(["id", "k"])
    of_3, of_10, dull = found.loc[EXCELLENT, 3], found.loc[EXCELLENT, 10], found.loc[DULL, 3]
    # EXCELLENT without its top 3 has p(4) = 0.3 < p(0); DULL loses 0.15 - 0.05 + 0.02.
    assert of_3.confidence_drop == pytest.approx(0.55) and of_3.flip
    assert dull.confidence_drop == pytest.approx(0.12) and not dull.flip
    assert of_10.confidence_drop == of_10.random_drop == pytest.approx(0.55)  # none is left
    # Three times [MASK] lower p(4) by 0.06, which EXCELLENT loses and DULL, of class 0, gains.
    assert (of_3.masked_drop, dull.masked_drop) == pytest.approx((0.61, 0.06))
    p = common.predict_proba(*planted, ev.changed_inputs(planted[1], rows[0], 3)[2:])[:, 4]
    assert of_3.random_drop == pytest.approx(0.85 - p.mean()) and 0 < of_3.random_drop < 0.55
    assert of_3.random_flip == (p < 0.5).mean()


def test_changed_inputs(ev, planted):
    _, tokenizer = planted
    ids = common.token_ids(tokenizer, EXCELLENT)
    row = explained(*planted, EXCELLENT, [0, 3, 1, 0, -4])
    deleted, masked, *random = ev.changed_inputs(tokenizer, row, 2)
    assert deleted == (ids[0], ids[2], ids[3])
    assert masked == (ids[0], tokenizer.mask_token_id, ids[2], ids[3], tokenizer.mask_token_id)
    assert [len(left) for left in random] == [3] * 5 and len(set(random)) > 1
    of_another_model = explained(*planted, EXCELLENT, [5, 0, 0, 0, 0])
    assert random == ev.changed_inputs(tokenizer, of_another_model, 2)[2:]
    longer = ev.changed_inputs(tokenizer, row, 1)[2:]  # a larger k removes more units, not others
    assert all(set(less) < set(more) for less, more in zip(random, longer))


def test_lime_removes_every_occurrence_of_a_word(ev, planted):
    text = "superb superb film quibble"  # the vocabulary lacks the last: several wordpieces
    ids, row = common.token_ids(planted[1], text), lime(text, ["quibble", "superb"], [0.4, 0.3])
    left, masked, *random = ev.changed_inputs(planted[1], row, 1)
    assert left == ids[:3] and masked == ids[:3] + (planted[1].mask_token_id,) * (len(ids) - 3)
    assert set(random) <= {ids[:3], ids[2:], ids[:2] + ids[3:]}  # one of three words
    assert ev.changed_inputs(planted[1], row, 2)[0] == (ids[2],)


def test_short_token_ratio(ev):
    assert ev.short_token_ratio(["superb", "was", "it", "film"]) == 0.5
    assert np.isnan(ev.short_token_ratio([]))


# --- 3.7 (2, 3) -----------------------------------------------------------------------------------

@pytest.mark.parametrize("n, k", [(0, 3), (1, 3), (3, 3), (5, 3), (6, 2), (7, 5)])
def test_chance_agreement_is_the_mean_over_all_pairs_of_sets(ev, n, k):
    sets = [set(c) for c in combinations(range(n), min(n, k))]
    jaccards = [ev.jaccard(a, b) for a, b in product(sets, sets)]
    overlaps = [ev.overlap(a, b, k) for a, b in product(sets, sets)]
    expected = (np.mean(jaccards), np.mean(overlaps))
    assert ev.chance_agreement(n, k) == pytest.approx(expected, nan_ok=True)


def test_agreement(ev):
    assert np.isnan(ev.jaccard(set(), set()))
    a, b = pd.Series([0.5, -0.4, 0.1, 0.3]), pd.Series([0.1, 0.4, -0.5, 0.3])
    found = ev.agreement(a, b, 3)  # {0, 1, 3} and {1, 2, 3}
    assert (found["n_tokens"], found["jaccard"], found["overlap"]) == (4, 0.5, 2 / 3)
    found = ev.agreement(a, b, 10)  # all four tokens, whatever the models do
    assert found["jaccard"] == found["chance_jaccard"] == 1
    assert found["overlap"] == found["chance_overlap"] == 0.4


def test_short_tokens_of_limes_words_and_of_all_words(ev):
    found = ev.short_tokens(lime("so so dull , the film", ["dull", "so"], [0.8, 0.6]))
    assert (found["short_token_ratio"], found["short_share_of_words"]) == (0.5, 0.5)
    found = ev.short_tokens(lime("so so dull , the film", ["dull"], [0.8]))
    assert (found["short_token_ratio"], found["short_share_of_words"]) == (0, 0.5)


def test_words_sum_their_wordpieces_over_all_occurrences(ev):
    row = {"text": "so so unreal!", "predicted": 0,
           "spans": [[0, 2], [3, 5], [6, 8], [8, 12], [12, 13]],
           "attributions": [[v, 0, 0, 0, 0] for v in (0.1, 0.2, 0.3, -0.1, 9)]}
    assert ev.word_scores(row).to_dict() == pytest.approx({"so": 0.3, "unreal": 0.2})


def test_direction(ev, rng):
    phi = rng.normal(size=(12, 5))  # one model that explains two classes
    a, b = {"attributions": phi, "predicted": 1}, {"attributions": phi, "predicted": 3}
    found, (x, y) = ev.direction(a, b), phi.T[[1, 3]]
    assert found["cosine"] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    assert found["polarity_cosine"] == pytest.approx(1) and found["same_prediction"] is False
    phi = np.ones((2, 12, 5))  # the top 10 of one are tokens 0 to 9, of the other 0 to 8 and 10
    phi[0, 10], phi[1, 9], phi[0, 11], phi[1, 11] = 0.5, 0.5, 0.5, -0.5
    found = ev.direction(*[{"attributions": x, "predicted": 0} for x in phi])
    assert found["cosine_top10"] == pytest.approx(10 / 10.25)  # without token 11
    assert found["cosine"] == pytest.approx(9.75 / 10.5)


def test_a_word_that_lime_did_not_choose_scores_0(ev):
    row = lime("so so dull , so film", ["dull", "so"], [-0.8, 0.6])
    assert list(ev.scores(row).items()) == [("so", 0.6), ("dull", -0.8), ("film", 0)]
    found = ev.direction(row, lime(row["text"], ["dull", "film"], [-0.8, 0.6]))
    assert found["cosine"] == found["cosine_top10"] == pytest.approx(0.64)
    assert found["polarity_cosine"] == pytest.approx(0.36)  # 0.6 of "dull", -0.8


# --- Which models, 3.7 (5), and the stage as a whole ----------------------------------------------

def test_bert_is_compared_with_the_next_seed(ev):
    def ceiling(*seeds):
        models = ev.with_retrained({(name, s): s for name, s in product(common.MODELS, seeds)})
        pairs = ev.model_pairs(models)
        assert [pair[1:] for pair in pairs[:4]] == [*common.PAIRS, ("bert", "tinybert_ce")]
        return [(s, models[second, s]) for s, _, second in pairs if second == "bert_retrained"]
    assert ceiling(42, 43, 44) == [(42, 43), (43, 44), (44, 42)]
    assert ceiling(42, 43) == [(42, 43)] and ceiling(42) == []


def test_every_outcome_has_a_bucket(ev):
    assert set(ev.BUCKETS) == set(product([False, True], repeat=3))
    assert len(set(ev.BUCKETS.values())) == 8
    assert ev.BUCKETS[True, False, True] == "bert_kd_pair"  # BERT, DistilBERT, KD-TinyBERT
    right = {("bert", 42): True, ("kd_tinybert", 42): False, ("distilbert", 42): True,
             ("bert", 43): True}  # of seed 43 the others are not there
    test = pd.DataFrame([{"model": model, "seed": seed, "id": "a", "right": is_right}
                         for (model, seed), is_right in right.items()])
    assert ev.buckets(test) == [{"seed": 42, "id": "a", "bucket": "bert_dbert"}]


def test_completeness_is_relative_to_the_change(ev):
    row = {"id": "a", "probabilities": [0.1, 0.9], "base_values": [0.5, 0.5],
           "completeness_gap": [0.02, 0.01]}
    assert ev.completeness(row)["relative_gap"] == pytest.approx(0.05)


def test_the_stage(smoke, tmp_path, call, rng):
    splits = common.load_splits(str(smoke / "text"))
    common.write_jsonl(tmp_path / "subset.jsonl", splits["test"][:6])
    for i, model in enumerate(common.PAPER_MODELS):  # with made-up explanations
        classifier, tokenizer = common.load_encoder(str(smoke / "random-bert"), i)
        stamp = common.make_stamp({"checkpoint": "x"}, {"text": common.digest(splits)}, "cpu")
        args = SimpleNamespace(artifacts=tmp_path, model=model, seed=42)
        common.save_classifier(classifier.eval(), tokenizer, [], args, stamp)
        rows = []
        for row in splits["test"][:6]:
            more = {"completeness_gap": [0.1], "base_values": [0.2] * 5}
            rows.append(explained(classifier, tokenizer, row["text"], rng.normal(), **more) | row)
        stamp["inputs"]["weights"] = common.weights_digest(tmp_path, f"{model}_42")
        for method in ("shap", "ig"):
            common.write_jsonl(tmp_path / f"explanations/{model}_42.{method}.jsonl", rows)
            common.write_json(tmp_path / f"explanations/{model}_42.{method}.stamp.json", stamp)

    def run():
        status, out, error = call("04", "--artifacts", tmp_path, "--data", smoke / "text")
        return status, out.count(": measured"), error

    def count(measure):
        return len(common.read_jsonl(tmp_path / "measures" / f"{measure}.jsonl"))
    assert run()[:2] == (0, 3)
    assert (count("labels"), count("models.bert_42"), count("predictions.bert_42")) == (15, 1, 120)
    assert count("faithfulness.bert_42") == 2 * 3 * 6 and count("agreement") == 3 * 2 * 3 * 6
    assert count("direction") == 3 * 2 * 6 and count("explainers") == 3 * 3 * 6
    assert (count("buckets"), count("completeness"), count("short_tokens")) == (120, 3 * 6, 0)
    assert run()[:2] == (0, 0)  # nothing is asked again, but what has new explanations:
    path = tmp_path / "explanations/distilbert_42.shap.jsonl"
    common.write_jsonl(path, [row | {"label": 3} for row in common.read_jsonl(path)])
    assert run()[:2] == (0, 1)
    stamp["inputs"]["weights"] = common.weights_digest(tmp_path, "distilbert_42")
    common.write_json(path.with_suffix(".stamp.json"), stamp | {"arguments": {"max_evals": 7}})
    status, _, error = run()
    assert status == 2 and "the shap of distilbert_42" in error and error.count("\n") == 1
    common.write_json(path.with_suffix(".stamp.json"), stamp)
    common.write_jsonl(path, [row | {"spans": []} for row in common.read_jsonl(path)])
    status, _, error = run()
    assert status == 2 and "the tokens of distilbert_42" in error
