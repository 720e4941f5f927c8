"""06: the interval by hand and by simulation; verdicts; reports of made-up measures."""
from itertools import product

import numpy as np
import pandas as pd
import pytest

import common


@pytest.fixture
def six(scripts, monkeypatch):
    monkeypatch.setitem(scripts["06"].LAYOUT, "savefig.dpi", 30)  # draws faster
    return scripts["06"]


def interval(six, x):
    """Of an array, NaN where there is no value: its axes become the levels of an index."""
    x = np.asarray(x, dtype=float)
    index = pd.MultiIndex.from_product([range(n) for n in x.shape])
    return six.interval(pd.Series(x.ravel(), index).dropna())


def test_interval_by_hand(six):
    # seeds 1 and 5: v = 8 / 2 = 4; sentences 2 and 4: v = 2 / 2 = 1; df = 25 / 17, its t is 6.1881
    assert interval(six, [[0, 2], [4, 6]]) == pytest.approx((3, 3 - 13.837, 3 + 13.837), abs=1e-3)
    # one seed: v = 1 / 3, df = 2, t = 4.3027
    half = 4.302653 / 3**0.5
    assert interval(six, [[1.0, 2.0, 3.0, np.nan]]) == pytest.approx((2, 2 - half, 2 + half))
    # the means along both axes are equal, the values are not: four values, v = 1 / 12, t = 3.1824
    half = 3.182446 / 12**0.5
    assert interval(six, [[0, 1], [1, 0]]) == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    assert interval(six, np.full((3, 150), 0.3)) == pytest.approx((0.3, 0.28, 0.32))  # 3 / 150
    for x in ([[5.0]], [5.0], [[5.0, np.nan], [np.nan, np.nan]], [], [np.nan]):
        assert np.isnan(interval(six, x)[1:]).all()


def test_interval_covers(six):
    rng, hits = np.random.default_rng(0), []
    for _ in range(400):  # three seeds, whose own deviation is a tenth of the sentences'
        x = rng.normal(0, 0.1, (3, 1)) + rng.normal(0, 1, (1, 50)) + rng.normal(0, 0.5, (3, 50))
        hits.append(np.prod(interval(six, x)[1:]) < 0)
    assert 0.9 <= np.mean(hits) <= 0.99


def rows_of_cosines(**values):
    """direction: {pair: the polarity cosines of two sentences in each of the seeds 42 and 43}."""
    keys = [*product((42, 43), "ab")]
    return {"direction": pd.DataFrame([
        {"seed": seed, "id": i, "pair": f"bert/{model}", "explainer": "shap", "polarity_cosine": x}
        for model, of_model in values.items() for (seed, i), x in zip(keys, of_model)])}


def test_estimate_by_hand(six):
    measures = rows_of_cosines(distilbert=[1, 3, 5, None], kd_tinybert=[0.5, None, 0.5, None])
    e = six.estimate(measures, "polarity cosine", six.BD)
    assert (e["mean"], e["n"], e["seeds"]) == (3, 3, {42: 2, 43: 5})
    assert e["sd"] == pytest.approx(2**0.5)  # within seed 42; seed 43 has one value
    measures["direction"] = measures["direction"][::-1]  # matched by seed and id, not by place
    e = six.estimate(measures, "polarity cosine", six.BD, six.BK)
    assert (e["mean"], e["n"], e["seeds"]) == (2.5, 2, {42: 0.5, 43: 4.5})
    assert six.estimate(measures, "polarity cosine", six.BD, six.DK)["n"] == 0
    orders = pd.DataFrame({"seed": 42, "model": "bert", "positive": [*"aabb"], "negative": "c",
                           "second_polarity": [0, 2] * 2, "misses": [True, False, True, None]})
    e = six.estimate({"contrast": orders}, "if right, adjective not in top 3", "bert")
    assert (e["mean"], e["n"]) == (0.75, 2)  # a cell is a pair of adjectives: 0.5 and 1
    of_kd = orders[::-1].assign(model="kd_tinybert", misses=[1, None, 0, 0])
    both = pd.concat([orders, of_kd])
    e = six.estimate({"contrast": both}, "if right, adjective not in top 3", "bert", "kd_tinybert")
    assert (e["mean"], e["n"]) == (0.5, 1)  # order by order: 1 - 0 and 0 - 0


def test_a_level_ends_where_its_range_ends_and_a_difference_does_not(six):
    measures = rows_of_cosines(distilbert=[0.9, 1, 0.2, 0.8], kd_tinybert=[-0.9, -1, 1, -1])
    level = six.estimate(measures, "polarity cosine", six.BD)
    assert level["high"] == 1 and -1 <= level["low"] < 0  # a cosine: not cut at 0
    difference = six.estimate(measures, "polarity cosine", six.BD, six.BK)
    assert difference["high"] > 2 and difference["low"] < -1
    flips = pd.DataFrame({"seed": 42, "id": list("abcd"), "model": "bert", "explainer": "shap",
                          "k": [3, 3, 3, 5], "flip": [True, False, False, True]})
    rate = six.estimate({"faithfulness": flips}, "FlipRate@3", "bert")
    assert (rate["mean"], rate["low"], rate["high"]) == (pytest.approx(1 / 3), 0, 1)


@pytest.mark.parametrize("low, high, verdict", [
    (0.1, 0.3, "holds"), (-0.3, -0.1, "does not hold"), (-0.1, 0.3, "undecided"),
    (0.0, 0.2, "undecided"), (-0.2, 0.0, "undecided"), (np.nan, np.nan, "undecided")])
def test_judge(six, low, high, verdict):
    assert six.judge({"low": low, "high": high, "n": 9}, 0, None) == verdict
    assert six.judge({"low": -high, "high": -low, "n": 9}, None, 0) == verdict
    assert six.judge({"low": low, "high": high, "n": 0}, 0, None) == "not tested"


def test_the_papers_numbers_and_claims(six):
    columns = six.METRICS
    for rate in columns["FlipRate@3"].paper.values():
        assert round(rate * 150) / 150 == pytest.approx(rate, abs=5e-4)  # 67, 59 and 0 of 150
    for pair, overlap in columns["Overlap@10"].paper.items():  # by Jensen, where all have 10 tokens
        assert columns["Jaccard@10"].paper[pair] > overlap / (2 - overlap)
    sds = {pair: sd for pair, (_, sd) in columns["cosine"].paper.items()}
    assert sds == columns["SD of the cosine"].paper and len(six.CLAIMS) <= 20
    for _, _, comparisons, reason in six.CLAIMS:
        for title, _, _, *ends in comparisons:  # without a reason: the order that the paper states
            assert title in columns and (set(ends) == {0, None} or reason and any(ends))


ODD = "a|b *c* _d_ `e` <b>f</b> [g](h) but\ni"
SAFE = r"a\|b \*c\* \_d\_ \`e\` \<b\>f\</b\> \[g\](h) but i"  # in Markdown


def made(folder, seeds, standins=False, methods=("shap", "lime", "ig"), text=ODD):
    """Artifacts of random numbers as 03 to 05 write them; one more BERT, of seed 41."""
    models = {"seed": seeds, "model": [*common.PAPER_MODELS, "kd_aligned"]}
    subset = [{"id": f"s{i}", "text": text, "label": i % 5} for i in range(8)]
    ids, by = {"id": [row["id"] for row in subset]}, {"explainer": methods}
    pairs = {"seed": seeds, "pair": [*common.PAIRS, "bert/kd_aligned", "bert/bert_next"]}
    pairs |= by | ids | {"k": [10], "bucket": ["all_correct"]}
    spec = {  # columns whose values are combined, columns of random numbers
        "models": (models, "training_seconds"),
        "labels": ({"split": common.SPLITS, "label": range(5)}, "sentences"),
        "predictions": (models | ids | {"label": [1], "predicted": [1], "bucket": ["kd_only"]},
                        "right as_bert"),
        "faithfulness": (models | by | ids | {"k": [3, 5]}, "confidence_drop flip random_drop "
                         "random_flip masked_drop masked_flip drop_over_random flip_over_random"),
        "short_tokens": (models | ids, "short_token_ratio short_share_of_words"),
        "agreement": (pairs, "jaccard overlap chance_jaccard chance_overlap"),
        "direction": (pairs, "cosine cosine_top10 polarity_cosine same_prediction"),
        "completeness": (models | ids, "relative_gap"),
        "explainers": (models | ids | {"k": [3], "explainer": [f"shap/{m}" for m in methods[1:]]},
                       "jaccard chance_jaccard"),
        "contrast": (models | {"positive": "ab", "negative": "cd", "second_polarity": [0, 2]},
                     "post_but_ratio equal_credit_ratio over_equal_credit but_minus_and misses "
                     "follows_second_clause swaps_with_clauses chance_misses misses_over_chance "
                     "less_confident_without_but confidence_drop_without_but"),
        "example": (models | {"condition": ["Original", "Without “but”", "Flipped clauses"],
                              "polarity": ["Pos"]}, "confidence"),
        "negation": (models | {"adjective": "ab", "out of scope": [None]}, "not never n't hardly"),
        "words": (models | ids, "function_share function_token_share sentiment_share "
                  "sentiment_token_share chance_misses misses")}
    rng, measures = np.random.default_rng(0), {}
    for name, (keys, columns) in spec.items():
        rows = [dict(zip(keys, values)) for values in product(*keys.values())]
        measures[name] = [row | {c: rng.uniform(0.2, 0.8) for c in columns.split()} for row in rows]
    for row in measures["models"]:
        layers, size = (12, 109_486_085) if row["model"] == "bert" else (6, 66_958_085)
        row |= {"layers": layers, "parameters": size // (5 if standins else 1),
                "checkpoint": f"x/mini_{layers}" if standins else row["model"]}
    measures["completeness"].append({"seed": 41, "model": "bert", "relative_gap": 9})
    measures["direction"].append(measures["direction"][-1] | {"seed": 41})  # its next seed: 42
    measures["predictions"].append({"seed": 41, "model": "bert", "id": "s1", "right": False})
    weights = {f"{row['model']}_{row['seed']}": "w" for row in measures["predictions"]}
    inputs = {"subset": common.digest(subset), "text": "t", "weights": weights}
    stamp = {"format": common.FORMAT, "inputs": inputs, "commit": "c", "device": "cpu",
             "weights": "w", "arguments": {"sentences": 8}}
    common.write_jsonl(folder / "subset.jsonl", subset)
    common.write_jsonl(folder / "runs.jsonl", [{"machine": "m", "seconds": 60}])
    common.write_json(folder / "measures/04_evaluate.stamp.json", stamp)
    for name, rows in measures.items():
        if methods[1:] or name not in ("short_tokens", "completeness"):  # missing, or empty
            common.write_jsonl(folder / f"measures/{name}.jsonl", rows)
    of_tokens = {"tokens": [*"ab"][:len(text)], "spans": [[0, 1], [1, 3]][:len(text)]}
    of_words = {"words": ["a"], "spans": [[[0, 1]]], "attributions": [0.5]}
    for name in weights:
        of_tokens["attributions"] = rng.normal(size=(len(of_tokens["tokens"]), 5))
        of_model = stamp | {"inputs": inputs | {"weights": "w"}}
        common.write_json(folder / f"models/{name}/stamp.json", stamp)
        common.write_json(folder / f"measures/05_probes.{name}.stamp.json", of_model)
        for method in methods:
            row = {"predicted": 1, "probabilities": [0.1, 0.4, 0.3, 0.1, 0.1]}
            row |= of_words if method == "lime" else of_tokens
            rows = [sentence | row for sentence in subset]
            common.write_jsonl(folder / f"explanations/{name}.{method}.jsonl", rows)
            common.write_json(folder / f"explanations/{name}.{method}.stamp.json", of_model)
        probe = {"id": "weak-joyful", "text": text, "predicted": 1} | of_tokens
        common.write_jsonl(folder / f"probes/{name}.shap.jsonl", [probe])
    return folder


@pytest.mark.parametrize("how, untested", [
    ({"seeds": (42, 43, 44)}, [17]),
    ({"seeds": (42, 43), "methods": ("shap",)}, [6, 17]),  # 03 --methods shap
    ({"seeds": (42,), "standins": True, "text": "a"}, [])])  # all sentences have one wordpiece
def test_report(six, call, tmp_path, how, untested):
    status, out, err = call("06", "--artifacts", made(tmp_path, **how))
    report, page = ((tmp_path / f).read_text() for f in ("report.md", "explanations.html"))
    assert status == 0 and out.count("\n") == len(six.CLAIMS) + 1
    assert not [word for word in ("nan", "None", "{", "inf") if word in report + out]
    assert f"Not tested: {', '.join(map(str, untested)) or 'none'}." in report
    assert report.count("## Table ") == 5 and report.count("\n") <= 200
    assert ("Not in this run." in report) == ("methods" in how)
    assert f"**Seeds: {', '.join(map(str, how['seeds']))}. The intervals cover" in report  # not 41
    starred = "DistilBERT\\*, KD-TinyBERT\\*, KD-aligned\\*: mini\\_6, 6 layers" in report
    assert starred == bool(how.get("standins")) == ("one comparison here" in report)
    assert "KD-aligned" in page and page.count("<article") == 8
    assert ("by 900.0% or less" in report) != ("methods" in how)  # the further BERT's gap counts
    assert (SAFE in report) != ("text" in how) and "<b>f</b>" not in report + page
    rows = pd.read_json(tmp_path / "tables/estimates.jsonl", lines=True)
    assert len(rows.query("table == 'Table 1'")) == 4 * 7 and "kd_only" not in report


def test_claims_turn_with_their_rows(six, tmp_path):
    measures, _ = six.load_measures(made(tmp_path, (42, 43)))
    assert set(measures["direction"].query("seed == 41")["pair"]) == {six.NEXT}
    number = [claim[1][:18] for claim in six.CLAIMS].index("DistilBERT remains")
    for shift, verdict in ((0.9, "holds"), (-0.9, "does not hold")):
        rows = measures["agreement"].copy()
        rows.loc[rows["pair"].eq(six.BD) & rows["explainer"].eq("shap"), "jaccard"] += shift
        claim = six.judge_claims(measures | {"agreement": rows})[number]
        assert claim["verdict"] == verdict == claim["by_seed"][42] and claim["lime"] != "holds"
    claims = six.judge_claims(measures)
    assert claims[0]["lime"] == claims[1]["ig"] == ""  # neither depends on the explainer
    rows = measures["faithfulness"].query("model == 'bert' and explainer == 'ig' and k == 3")
    below = [("FlipRate@3", "bert", None, None, 0.9)]
    verdict, (one,) = six.evaluate(measures, below, explainer="ig")
    assert one["mean"] == pytest.approx(rows["flip"].mean()) and verdict == "holds"
    kinds = {"holds": ("bert", None, 0.9), "undecided": ("bert", one["mean"], None),
             "not tested": ("tinybert_ce", 0, None), "does not hold": ("bert", 0.9, None)}
    for n, verdict in enumerate(kinds, 1):  # each is stronger than those before it
        comparisons = [("FlipRate@3", who, None, *ends) for who, *ends in [*kinds.values()][:n]]
        assert six.evaluate(measures, comparisons, explainer="ig")[0] == verdict


def test_the_gain_of_alignment_by_hand(six, tmp_path):
    measures, _ = six.load_measures(made(tmp_path, (42, 43)))
    measures |= rows_of_cosines(kd_tinybert=[0.5, 0.7, 0.4, 0.6], kd_aligned=[0.7, 0.7, 0.8, 0.8],
                                bert_next=[0.8, 0.8, 0.9, 0.9])
    measures["models"]["training_seconds"] = [10, 10, 20, 50] * 2
    measures["predictions"]["right"] = measures["predictions"]["model"].eq("kd_aligned") / 4 + 0.25
    expected = ("KD-aligned closes 67% [-96%, 221%] of the gap between KD-TinyBERT and a second "
                "BERT, that of the next seed. Polarity cosine with BERT: KD-TinyBERT .550, "
                "KD-aligned .750, BERT of the next seed .850. Accuracy: KD-TinyBERT .250, "
                "KD-aligned .500, BERT .250. Training takes 2.5 times as long.**")
    # Of 0.2 KD-aligned goes 0.1, of 0.4 it goes 0.3: 0.4 of 0.6.
    assert expected in six.gain_of_alignment(measures)
    measures["direction"] = measures["direction"].query("seed == 42 or pair != 'bert/bert_next'")
    # One seed has two BERTs: no interval.
    assert "closes 50% of the gap" in six.gain_of_alignment(measures)


def test_gold_control_needs_the_same_start(six):
    models = ["distilbert", "kd_tinybert", "tinybert_ce"]
    for starts, pair in (("xx", six.BD), ("xy", six.CONTROL), ("xyy", "bert/tinybert_ce")):
        rows = pd.DataFrame(zip(models, starts), columns=["model", "checkpoint"])
        assert six.gold_control({"models": rows}) == pair


def test_cases_by_rule(six):
    texts = ("But a b", "a but b", "a or b", "b but a")
    p = [[.2, .5, .1, .1, .1], [.3, .4, .1, .1, .1], [.3, .35, .15, .1, .1], [.1, .6, .1, .1, .1]]
    bert = [{"id": text, "text": text, "probabilities": q} for text, q in zip(texts, p)]
    kd = [{"id": text, "label": 1, "predicted": c} for text, c in zip(texts, (4, 1, 1, 4))]
    cosines = pd.Series([-1, .6, 0, .8], texts)
    found = [*six.pick_cases(bert, kd, cosines).values()]
    assert found == [("a or b", pytest.approx(.05)), ("a but b", .6), ("a or b", 0)]


def test_marked_text_is_the_text_escaped(six):
    html = six.marked({"text": "a <b> & c", "words": ["a", "<b>"], "spans": [[[0, 1]], [[2, 5]]],
                       "attributions": [0.5, -0.25]})
    assert html.count("<i ") == 2 and 'class="n"' in html.split("<i ")[2]  # the second opposes
    assert "a<sub>+0.50</sub>" in html and "&lt;b&gt;<sub>−0.25</sub>" in html  # signs in the text
    assert html.endswith("&amp; c")


@pytest.mark.parametrize("path, content, told", [
    ("measures/04_evaluate.stamp.json", None, "04_evaluate.py writes it"),
    ("models/kd_tinybert_42/stamp.json", {"weights": "v"}, "04_evaluate.py measured other models"),
    ("measures/05_probes.distilbert_42.stamp.json", None,
     "05_probes.py --model distilbert --seed 42 writes it"),
    ("measures/05_probes.bert_42.stamp.json", {"inputs": {"weights": "v"}},
     "05_probes.py --model bert --seed 42 writes it")])
def test_what_does_not_belong_together_is_refused(six, call, tmp_path, path, content, told):
    path = made(tmp_path, (42,)) / path
    path.unlink() if content is None else common.write_json(path, common.read_json(path) | content)
    status, _, err = call("06", "--artifacts", tmp_path)
    assert status == 2 and told in err and err.count("\n") == 1
