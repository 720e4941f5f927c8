"""04: the formulas of 3.7 against cases worked by hand, enumeration, a planted model; the stage."""
import shutil
from functools import partial
from itertools import combinations, product

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
    attributions[:, p.argmax()] = phi[:len(tokens)]
    return {"id": text, "text": text, "label": 4, "predicted": int(p.argmax()), "probabilities": p,
            "tokens": tokens, "spans": spans, "attributions": attributions, **more}


def lime(text, words, weights):
    return {"id": text, "text": text, "predicted": 4, "words": words, "attributions": weights,
            "polarity_words": words, "polarity_attributions": weights[::-1]}


def make_artifacts(folder, smoke, models, n):
    """Random BERTs as 01 saves them; n sentences with made-up explanations as 03 saves them, of
    SHAP and of integrated gradients alike, and of LIME, which chose the first word."""
    subset = common.load_splits(str(smoke / "text"))["test"][:n]
    common.write_jsonl(folder / "subset.jsonl", subset)
    splits = common.load_splits(str(smoke / "text"))
    common.write_json(folder / "settings/text.json", {"digest": common.digest(splits)})
    for method in ("shap", "ig", "lime"):
        common.write_json(folder / f"settings/{method}.json", {"sentences": n, "max_evals": 20})
    for seed, name in enumerate(models):
        model, tokenizer = common.load_encoder(str(smoke / "random-bert"), seed)
        for part in (model.eval(), tokenizer):
            part.save_pretrained(folder / "models" / name)
        common.write_json(folder / f"settings/{name.rpartition('_')[0]}.json",
                          {"checkpoint_digest": "d", "notes": {"checkpoint": "a/folder"}})
        common.write_json(folder / "models" / name / "training_log.json", [{"seconds": 1.5}] * 2)
        phi, more = np.random.default_rng(seed), {"completeness_gap": [0.1], "base_values": [0.2]}
        shap = [explained(model, tokenizer, row["text"], phi.normal(size=99), **more) | row
                for row in subset]
        words = [row | lime(row["text"], row["text"].split()[:1], [0.1]) | {"id": row["id"]}
                 for row in shap]
        for method, rows in {"shap": shap, "ig": shap, "lime": words}.items():
            common.write_jsonl(folder / "explanations" / f"{name}.{method}.jsonl", rows)


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
    random = ev.changed_inputs(planted[1], rows[0], 3)["random"]
    p = common.predict_proba(*planted, random)[:, 4]
    assert of_3.random_drop == pytest.approx(0.85 - p.mean()) and 0 < of_3.random_drop < 0.55
    assert of_3.random_flip == (p < 0.5).mean()
    assert of_3.flip_over_random == 1 - of_3.random_flip
    assert of_3.drop_over_random == pytest.approx(p.mean() - 0.3)


def test_changed_inputs(ev, planted):
    _, tokenizer = planted
    ids, mask = common.token_ids(tokenizer, EXCELLENT), tokenizer.mask_token_id
    row = explained(*planted, EXCELLENT, [0, 3, 1, 0, -4])
    changed = ev.changed_inputs(tokenizer, row, 2)
    assert changed["top"] == (ids[0], ids[2], ids[3])
    assert changed["masked"] == (ids[0], mask, ids[2], ids[3], mask)
    random = changed["random"]
    assert [len(left) for left in random] == [3] * 5 and len(set(random)) > 1
    of_another_model = explained(*planted, EXCELLENT, [5, 0, 0, 0, 0])
    assert random == ev.changed_inputs(tokenizer, of_another_model, 2)["random"]
    longer = ev.changed_inputs(tokenizer, row, 1)["random"]  # a larger k removes more, not others
    assert all(set(less) < set(more) for less, more in zip(random, longer))


def test_lime_removes_every_occurrence_of_a_word(ev, planted):
    text = "superb superb film quibble"  # the vocabulary lacks the last: several wordpieces
    ids, row = common.token_ids(planted[1], text), lime(text, ["quibble", "superb"], [0.4, 0.3])
    changed = ev.changed_inputs(planted[1], row, 1)
    assert changed["top"] == ids[:3]
    assert changed["masked"] == ids[:3] + (planted[1].mask_token_id,) * (len(ids) - 3)
    assert set(changed["random"]) <= {ids[:3], ids[2:], ids[:2] + ids[3:]}  # one of three words
    assert ev.changed_inputs(planted[1], row, 2)["top"] == (ids[2],)


@pytest.mark.parametrize("text, n", [("\u200b", 0), ("superb", 1)])
def test_sentences_with_one_wordpiece_or_none(ev, planted, text, n):
    row = explained(*planted, text, [0.3])
    of_lime = lime(text, ["superb"][:n], [0.3][:n]) | {"probabilities": row["probabilities"]}
    for found in ev.faithfulness(*planted, {"shap": [row], "lime": [of_lime]}):
        assert found["confidence_drop"] == pytest.approx(0.3 * n)
    found = ev.agreement(ev.scores(row), ev.scores(row), 3) | ev.direction(row, row)
    assert found["overlap"] == n / 3
    of_both = pytest.approx(1 if n else np.nan, nan_ok=True)
    assert found["jaccard"] == of_both and found["cosine"] == of_both


def test_completeness_is_relative_to_the_change(ev):
    row = {"probabilities": [0.1, 0.9], "completeness_gap": [0.02, 0.01]}
    gap = ev.relative_completeness_gap(row | {"base_values": [0.5, 0.5]})
    assert gap == pytest.approx(0.05)
    assert np.isnan(ev.relative_completeness_gap(row | {"base_values": [0.1, 0.9]}))


def test_short_token_ratio(ev):
    assert ev.short_token_ratio(["superb", "was", "it", "film"]) == 0.5
    assert np.isnan(ev.short_token_ratio([]))
    for words, ratio in ((["dull", "so"], 0.5), (["dull"], 0)):
        found = ev.short_tokens(lime("so so dull , the film", words, [0.8, 0.6]))
        assert (found["short_token_ratio"], found["short_share_of_words"]) == (ratio, 0.5)


# --- 3.7 (2, 3) -----------------------------------------------------------------------------------

@pytest.mark.parametrize("n, k", [(0, 3), (1, 3), (3, 3), (5, 3), (6, 2), (7, 5)])
def test_chance_agreement_is_the_mean_over_all_pairs_of_sets(ev, n, k):
    sets = [set(c) for c in combinations(range(n), min(n, k))]
    jaccards = [len(a & b) / len(a | b) if n else np.nan for a, b in product(sets, sets)]
    overlaps = [len(a & b) / k for a, b in product(sets, sets)]
    expected = (np.mean(jaccards), np.mean(overlaps))
    assert ev.chance_agreement(n, k) == pytest.approx(expected, nan_ok=True)


def test_agreement(ev):
    a, b = pd.Series([0.5, -0.4, 0.1, 0.3]), pd.Series([0.1, 0.4, -0.5, 0.3])
    found = ev.agreement(a, b, 3)  # {0, 1, 3} and {1, 2, 3}
    assert (found["jaccard"], found["overlap"]) == (0.5, 2 / 3)
    found = ev.agreement(a, b, 10)  # all four tokens, whatever the models do
    assert found["jaccard"] == found["chance_jaccard"] == 1
    assert found["overlap"] == found["chance_overlap"] == 0.4


def test_words_sum_their_wordpieces_over_all_occurrences(ev):
    row = {"text": "so so unreal!", "predicted": 0,
           "spans": [[0, 2], [3, 5], [6, 8], [8, 12], [12, 13]],
           "attributions": [[v, 0, 0, 0, 0] for v in (0.1, 0.2, 0.3, -0.1, 9)]}
    assert ev.word_scores(row).to_dict() == pytest.approx({"so": 0.3, "unreal": 0.2})


def test_direction(ev):
    phi = np.random.default_rng(0).normal(size=(12, 5))  # one model that explains two classes
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


# --- The pairs, and the stage as a whole

def test_the_pairs_in_which_a_model_is_the_second(ev):
    assert ev.pairs_of("bert", 43) == [("bert/bert_next", "bert", 42)]
    assert ev.pairs_of("distilbert", 42) == [("bert/distilbert", "bert", 42)]
    assert ev.pairs_of("kd_tinybert", 42) == [("bert/kd_tinybert", "bert", 42),
                                              ("distilbert/kd_tinybert", "distilbert", 42)]
    assert ev.pairs_of("mine", 7) == [("bert/mine", "bert", 7)]


def test_the_stage(ev, smoke, tmp_path, call, monkeypatch):
    make_artifacts(tmp_path, smoke, ("bert_42", "distilbert_42", "kd_tinybert_42", "bert_43"), 6)

    def run(*flags, status=0):
        found, _, error = call("04", "--artifacts", tmp_path, "--data", smoke / "text", *flags)
        assert found == status and error.count("\n") == (status == 2), error
        return error or {path.stem: pd.DataFrame(common.read_jsonl(path))
                         for path in (tmp_path / "measures").glob("*.jsonl")}

    of_kd = {"agreement": 2 * 3 * 3 * 6, "direction": 2 * 3 * 6, "models": 1, "predictions": 120,
             "short_tokens": 6, "faithfulness": 3 * 3 * 6, "explainers": 3 * 3 * 6,
             "completeness": 6}
    alone = run("--model", "kd_tinybert", "--seed", "42")
    assert {name: len(rows) for name, rows in alone.items()} == {
        f"{measure}.kd_tinybert_42": n for measure, n in of_kd.items()}
    found = run()
    assert len(found) == 4 * 8
    assert all(alone[name].equals(found[name]) for name in alone if "models" not in name)
    pairs = {name: set(found[f"direction.{name}"]["pair"]) for name in
             ("distilbert_42", "kd_tinybert_42", "bert_43")}
    assert pairs == {"distilbert_42": {"bert/distilbert"}, "bert_43": {"bert/bert_next"},
                     "kd_tinybert_42": {"bert/kd_tinybert", "distilbert/kd_tinybert"}}
    assert set(found["direction.bert_43"]["seed"]) == {42} and found["direction.bert_42"].empty
    bert, test = found["models.bert_43"].iloc[0], found["predictions.bert_43"]
    assert (bert["checkpoint"], bert["checkpoint_digest"]) == ("a/folder", "d")
    assert bert["training_seconds"] == 3 and set(bert["explanations"]) == {
        f"bert_{seed}.{method}" for seed in (42, 43) for method in ("shap", "ig", "lime")}
    assert (test["right"] == (test["predicted"] == test["label"])).all()

    # A formula that is changed gives another number, also where it asks the model.
    monkeypatch.setattr(ev, "short_token_ratio", partial(ev.short_token_ratio, characters=0))
    monkeypatch.setattr(ev, "drop_and_flip", lambda row, p: (7, True))
    again = run("--model", "bert", "--seed", "43")
    assert max(found["short_tokens.bert_43"]["short_token_ratio"]) == 1
    assert set(again["short_tokens.bert_43"]["short_token_ratio"]) == {0}
    assert set(again["faithfulness.bert_43"]["confidence_drop"]) == {7}

    for path in (tmp_path / "explanations").glob("*_4?.[il]*"):  # IG and LIME were not run
        path.unlink()
    shutil.rmtree(tmp_path / "models/distilbert_42")  # a pair needs explanations, not the model
    shutil.rmtree(tmp_path / "measures")
    alone = run()
    assert len(alone) == 3 * 8 and alone["direction.kd_tinybert_42"]["pair"].nunique() == 2
    assert set(alone["agreement.bert_43"]["explainer"]) == {"shap"}
    assert alone["short_tokens.bert_43"].empty and alone["explainers.bert_43"].empty
    path = tmp_path / "explanations/bert_42.shap.jsonl"
    rows = common.read_jsonl(path)
    common.write_jsonl(path, rows[:3])  # interrupted: the pairs with it are left out
    assert set(run()["agreement.kd_tinybert_42"]["pair"]) == {"distilbert/kd_tinybert"}
    rows[1]["spans"].pop()
    common.write_jsonl(path, rows)
    assert "of bert_42 and bert_43 cut test-1 differently" in run(
        "--model", "bert", "--seed", "43", status=2)
