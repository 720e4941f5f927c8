"""06: the interval by hand and by simulation; verdicts; a report of made-up measures."""
from itertools import product

import numpy as np
import pandas as pd
import pytest

import common


@pytest.fixture
def six(scripts):
    return scripts["06"]


def test_interval_by_hand(six):
    # seeds 1 and 5: v = 8 / 2 = 4; sentences 2 and 4: v = 2 / 2 = 1; df = 25 / 17, its t is 6.1881
    assert six.interval([[0, 2], [4, 6]]) == pytest.approx((3, 3 - 13.837, 3 + 13.837), abs=1e-3)
    # one seed: v = 1 / 3, df = 2, t = 4.3027
    half = 4.302653 / 3**0.5
    assert six.interval([[1.0, 2.0, 3.0, np.nan]]) == pytest.approx((2, 2 - half, 2 + half))


def test_interval_has_a_width_and_needs_a_draw(six):
    assert six.interval(np.full((3, 150), 0.3)) == pytest.approx((0.3, 0.28, 0.32))  # 3 / 150
    assert np.isnan(six.interval([[5.0]])[1]) and np.isnan(six.interval([5.0])[2])
    _, low, high = six.interval([[0, 1], [1, 0]])  # the means along both axes are equal
    assert low < 0.5 < high


def test_interval_covers(six):
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):  # three seeds, whose own deviation is a tenth of the sentences'
        x = rng.normal(0, 0.1, (3, 1)) + rng.normal(0, 1, (1, 50)) + rng.normal(0, 0.5, (3, 50))
        _, low, high = six.interval(x)
        hits += low < 0 < high
    assert 0.9 <= hits / 400 <= 0.99


def test_estimate_and_difference(six):
    rows = pd.DataFrame({"seed": [42, 42, 43, 43], "id": list("abab"), "x": [1, 3, 5, np.nan]})
    e = six.estimate(rows, "x")
    assert (e["mean"], e["n"], e["seeds"]) == (3, 3, {42: 2, 43: 5})
    assert e["sd"] == pytest.approx(2**0.5)  # within seed 42; seed 43 has one value
    other = rows[rows["id"] == "a"].assign(x=0.5)[::-1]  # matched by seed and id, not by place
    e = six.difference(rows, other, "x")
    assert (e["mean"], e["n"], e["seeds"]) == (2.5, 2, {42: 0.5, 43: 4.5})
    nothing_in_common = six.difference(rows, other.assign(id="c"), "x")
    assert nothing_in_common["n"] == 0 and np.isnan(nothing_in_common["mean"])


@pytest.mark.parametrize("low, high, verdict", [
    (0.1, 0.3, "holds"), (-0.3, -0.1, "does not hold"), (-0.1, 0.3, "undecided"),
    (0.0, 0.2, "undecided"), (-0.2, 0.0, "undecided"), (np.nan, np.nan, "undecided")])
def test_judge(six, low, high, verdict):
    assert six.judge({"low": low, "high": high, "n": 9}, 0, np.inf) == verdict
    assert six.judge({"low": low, "high": high, "n": 0}, 0, np.inf) == "not tested"


def test_zero_by_construction_is_undecided(six):
    _, low, high = six.interval(np.zeros((3, 150)))
    assert six.judge({"low": low, "high": high, "n": 450}, 0, np.inf) == "undecided"
    assert six.judge({"low": low, "high": high, "n": 450}, -np.inf, 0.05) == "holds"  # 3 / 150


def test_the_papers_numbers(six):
    for rate in six.PAPER["FlipRate@3"].values():
        assert round(rate * 150) / 150 == pytest.approx(rate, abs=5e-4)  # 67, 59 and 0 of 150
    for pair, overlap in six.PAPER["Overlap@10"].items():  # by Jensen, where all have 10 tokens
        assert six.PAPER["Jaccard@10"][pair] > overlap / (2 - overlap)
    sds = {pair: sd for pair, (_, sd) in six.PAPER["cosine"].items()}
    assert sds == six.PAPER["SD of the cosine"]


def synthetic(seeds, standins):
    """{measure: rows} as 04 and 05 write them, of random numbers."""
    models = {"seed": seeds, "model": list(common.MODELS)}
    ids, methods = {"id": [f"s{i}" for i in range(8)]}, {"explainer": ["shap", "lime", "ig"]}
    pairs = [*common.PAIRS, ("bert", "tinybert_ce"), ("bert", "bert_retrained")][:3 + len(seeds)]
    pairs, right = {"seed": seeds, "pair": pairs} | methods | ids, {"right_label": [True]}
    words = {"positive": ["good", "fine"], "negative": ["bad", "dull"], "polarity": [0, 2]}
    conditions = {"condition": ["not", "never", "n't", "hardly", "out of scope"]}
    spec = {  # columns whose values are combined, columns of random numbers
        "models": (models, ""), "cases": ({"rule": ["borderline"], "seed": [42], "id": ["s1"]}, ""),
        "labels": ({"split": list(common.SPLITS), "label": range(5)}, "sentences"),
        "predictions": (models | ids | {"label": [1], "predicted": [1, 2]}, "confidence"),
        "faithfulness": (models | methods | ids | {"k": [3]}, "confidence_drop flip random_drop "
                         "random_flip masked_drop masked_flip"),
        "short_tokens": (models | ids, "short_token_ratio short_share_of_words"),
        "agreement": (pairs | {"k": [10]}, "jaccard overlap chance_jaccard chance_overlap"),
        "direction": (pairs, "cosine cosine_top10 polarity_cosine same_prediction"),
        "completeness": (models | ids, "relative_gap"),
        "explainers": (models | ids | {"first": ["shap"], "second": ["lime", "ig"], "k": [3]},
                       "jaccard chance_jaccard"),
        "buckets": ({"seed": seeds, "bucket": ["all_correct"]} | ids, ""),
        "contrast": (models | words | {"connective": ["but", "and"]} | right, "post_but_ratio "
                     "equal_credit_ratio polarity_post_but_ratio follows_second_clause "
                     "swaps_with_clauses less_confident_without_but misses_second_adjective "
                     "chance_misses"),
        "example": (models | {"condition": ["Original", "Without “but”", "Flipped clauses"],
                              "polarity": ["Pos"]}, "confidence"),
        "negation": (models | conditions | {"adjective": ["good", "bad"]}, "right"),
        "words": (models | ids | right, "function_share function_token_share polarity_share "
                  "polarity_token_share chance_misses misses_polarity_words")}
    rng, measures = np.random.default_rng(0), {}
    for name, (keys, columns) in spec.items():
        rows = [dict(zip(keys, values)) for values in product(*keys.values())]
        for row in rows:
            row |= {column: rng.uniform(0.2, 0.8) for column in columns.split()}
            row |= dict(zip(("first", "second"), row.pop("pair", ())))
        measures[name] = rows
    for row in measures["models"]:
        full = row["model"] == "bert"
        row |= {"layers": 12 if full else 6, "parameters": 109_486_085 if full else 66_958_085,
                "checkpoint": "x/Mini", "keep_layers": [0, 2] if standins and not full else [],
                "teacher": "bert" if row["model"] == "kd_tinybert" else None}
        row["parameters"] //= 5 if standins else 1
    return measures


def measured(six, folder, *how):
    for name, rows in synthetic(*how).items():
        common.write_jsonl(folder / f"measures/{name}.jsonl", rows)
    weights = {f"{row['model']}_{row['seed']}": "w" for row in synthetic(*how)["models"]}
    weights["bert_45"] = "w"  # a further BERT, which is no seed of its own
    common.write_jsonl(folder / "subset.jsonl", [])
    for name in weights:
        common.write_json(folder / f"models/{name}/stamp.json", {"weights": "w"})
    inputs = {"subset": common.digest([]), "weights": weights}
    for stage in six.MADE_BY:
        common.write_json(folder / f"measures/{stage}.stamp.json", {"inputs": inputs})
    extra = [{"seed": 45, "model": "bert", "id": "s1", "label": 1, "predicted": 1}]
    common.write_jsonl(folder / "measures/predictions.bert_45.jsonl", extra)
    common.write_jsonl(folder / "measures/predictions.bert_99.jsonl", extra)  # no longer measured
    return six.load_measures(folder)[0]


@pytest.mark.parametrize("seeds, standins", [((42, 43, 44), False), ((42,), True)])
def test_report(six, tmp_path, seeds, standins):
    measures = measured(six, tmp_path, seeds, standins)
    assert set(measures["predictions"]["seed"]) == set(seeds)
    measures, names = six.prepare(measures), six.names_of(measures)
    claims, captions = six.judge_claims(measures), dict.fromkeys(range(10), "")
    sections = {heading: six.table(measures, names, heading)[1] for heading in six.TABLES}
    sections |= {"Claims": six.ledger(claims, names, not standins),
                 "Table 5": six.table5(measures, names),
                 six.DEPENDS: six.explainer_table(measures, claims, names)}
    first = six.opening(measures, claims, names, not standins)
    text = six.report(first, sections, claims, captions)
    assert text.count("## Table ") == 5 and text.count("\n") <= 250
    assert not [word for word in ("nan", "None", "{", "Not in this run") if word in text]
    untested = [claim["claim"] for claim in claims if claim["verdict"] == "not tested"]
    assert untested == ([2, 10, 22] if standins else [])  # one seed has no ceiling
    if standins:
        assert names["bert"] == "BERT (Mini)" and names["kd_tinybert"] == "half depth, distilled"
        assert "| BERT |" not in text and "verdict, on stand-ins" in text
    else:
        assert names | common.MODELS == names
    believed = six.what_to_believe(claims, names, not standins).split("\n")
    assert len(believed) <= 8 and all(line.endswith("](#claims).") for line in believed)


def test_the_interval_of_a_share_ends_at_1(six, tmp_path):
    measures = six.prepare(measured(six, tmp_path, (42, 43), False))
    rows = measures["faithfulness"]
    measures["faithfulness"] = rows.assign(flip=(rows["id"] != "s0") * 1.0, random_flip=0.0)
    share = six.quantity(measures, "FlipRate@3", "bert")
    assert share["high"] == 1 and 0 < share["low"] < share["mean"] == 0.875


def test_a_quantity_is_of_its_own_rows(six, tmp_path):
    measures = six.prepare(measured(six, tmp_path, (42, 43), False))
    rows = measures["negation"]
    measures["negation"] = rows.assign(right=(rows["condition"] == "hardly") * 1.0)
    assert [six.quantity(measures, c, "bert")["mean"] for c in six.NEGATIONS] == [0, 0, 0, 1, 0]
    rows = measures["faithfulness"].query("model == 'kd_tinybert' and explainer == 'ig'")
    claim = next(c for c in six.CLAIMS if "effectively zero" in c.quote)
    _, (result,) = six.evaluate(measures, claim, "ig")
    assert result["mean"] == pytest.approx(rows["flip"].mean())
    assert result["baseline"] == pytest.approx(rows["random_flip"].mean())


def test_quantities_by_hand(six):
    rows = pd.DataFrame({"confidence": [0.95, 0.85, 0.85], "predicted": [1, 2, 3],
                         "label": [1, 1, 3]})
    assert six.calibration_error(rows) == pytest.approx((0.05 + 0.7) / 3)
    rows = pd.DataFrame({"jaccard": [0.5, 0.7], "chance_jaccard": [0.2, 0.4]})
    assert six.over_chance(rows) == pytest.approx(0.3 / 0.7)  # of the means


def test_quantities_that_need_other_rows(six, tmp_path):
    raw = measured(six, tmp_path, (42, 43), False)
    predictions = raw["predictions"].drop_duplicates(["seed", "model", "id"])
    differs = (predictions["model"] == "kd_tinybert") & (predictions["id"] == "s0")
    raw["predictions"] = predictions.assign(predicted=1 + differs)
    wrong = raw["contrast"]["positive"] == "fine"
    raw["contrast"] = raw["contrast"].assign(right_label=1.0 - wrong)
    measures, of_bert = six.prepare(raw), raw["contrast"].query("model == 'bert'")
    ratio = of_bert.groupby("connective")["polarity_post_but_ratio"].mean()
    expected = {"ratio, “but” − “and”": ratio["but"] - ratio["and"],
                "right, adjective not in top 3": of_bert.query(
                    "connective == 'but' and right_label == 1")["misses_second_adjective"].mean()}
    for name, value in expected.items():
        assert six.quantity(measures, name, "bert")["mean"] == pytest.approx(value)
    assert six.quantity(measures, "same class as {bert}", "kd_tinybert")["mean"] == 7 / 8


def test_the_deciding_comparison_is_the_worst_for_the_claim(six, tmp_path):
    measures = six.prepare(measured(six, tmp_path, (42, 43), False))
    level = {("bert", "distilbert"): 0.9, ("bert", "kd_tinybert"): 0.5}  # the last pair: 0.1
    rows = measures["agreement"]
    rows["jaccard"] = [level.get(pair, 0.1) for pair in zip(rows["first"], rows["second"])]
    rows["jaccard"] += np.random.default_rng(0).uniform(0, 0.01, len(rows))
    claim = next(c for c in six.judge_claims(measures) if "lowest similarity" in c["quote"])
    assert claim["verdict"] == "holds" and claim["deciding"]["mean"] == pytest.approx(0.4, abs=0.02)


def test_a_stand_in_is_named_by_its_depth(six, tmp_path):
    measures = measured(six, tmp_path, (42,), True)
    measures["models"].loc[measures["models"]["model"] == "distilbert", "layers"] = 4
    names = six.names_of(measures)
    assert names["distilbert"] == "4 layers, gold labels"
    assert names["kd_tinybert"] == "half depth, distilled"


def test_a_claim_turns_with_its_rows(six, tmp_path):
    measures = six.prepare(measured(six, tmp_path, (42, 43), False))
    claim = next(c for c in six.CLAIMS if c.quote.startswith("DistilBERT remains closer"))
    for shift, verdict in ((0.9, "holds"), (-0.9, "does not hold")):
        rows = measures["agreement"].copy()
        rows.loc[rows["second"] == "distilbert", "jaccard"] += shift
        assert six.evaluate(measures | {"agreement": rows}, claim)[0] == verdict


def test_marked_text_is_the_text_escaped(six):
    html = six.marked({"text": "a <b> & c", "words": ["a", "<b>"], "spans": [[[0, 1]], [[2, 5]]],
                       "attributions": [0.5, -0.25]})
    assert html.count("<i ") == 2 and "class=n" in html.split("<i ")[2]  # the second opposes
    assert "a<sub>+0.50</sub>" in html and "&lt;b&gt;<sub>−0.25</sub>" in html  # signs in the text
    assert html.endswith("&amp; c")


def test_other_weights_than_were_measured_are_refused(six, tmp_path, call):
    measured(six, tmp_path, (42,), True)
    common.write_json(tmp_path / "models/kd_tinybert_42/stamp.json", {"weights": "v"})
    status, _, err = call("06", "--artifacts", tmp_path)
    assert status == 2 and "04_evaluate.py measured other models" in err and err.count("\n") == 1


def test_a_missing_measure_stops_in_one_line(call, tmp_path):
    status, _, err = call("06", "--artifacts", tmp_path)
    assert status == 2 and "04_evaluate.py writes" in err and err.count("\n") == 1
