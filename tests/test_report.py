"""06: the interval by hand and by simulation; verdicts; reports of made-up measures."""
import re
from itertools import product

import matplotlib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import common


@pytest.fixture
def six(scripts, monkeypatch):
    monkeypatch.setitem(scripts["06"].LAYOUT, "savefig.dpi", 30)  # draws faster
    monkeypatch.setattr(scripts["06"], "kit_commit", lambda: "c")
    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)  # as a matplotlibrc may have it
    return scripts["06"]


def interval(six, x):
    """Of an array, NaN where there is no value: its axes become the levels of an index."""
    x = np.asarray(x, dtype=float)
    index = pd.MultiIndex.from_product([range(n) for n in x.shape])
    return six.mean_and_interval(pd.Series(x.ravel(), index).dropna())


def test_interval_by_hand(six):
    # six seeds and six sentences: v = 3.5 / 6 each, df = 10; wider than either alone
    x = np.add.outer(np.arange(6), np.arange(6))
    half = 2.228139 * (2 * 3.5 / 6)**0.5
    assert interval(six, x) == pytest.approx((5, 5 - half, 5 + half), abs=1e-5)
    # seeds 1 and 5: v = 8 / 2 = 4, df = 1; sentences 2 and 4: v = 1. The seeds alone are widest.
    half = 12.706205 * 2
    assert interval(six, [[0, 2], [4, 6]]) == pytest.approx((3, 3 - half, 3 + half), abs=1e-5)
    # one seed: v = 1 / 3, df = 2, t = 4.3027
    half = 4.302653 / 3**0.5
    assert interval(six, [[1.0, 2.0, 3.0, np.nan]]) == pytest.approx((2, 2 - half, 2 + half))
    # equal means: 3.7 / the values of the seed that has fewest
    half = 3.7 / 150
    assert interval(six, np.full((3, 150), 0.3)) == pytest.approx((0.3, 0.3 - half, 0.3 + half))
    half = 3.7 / 2
    few = interval(six, [[1, 1, 1], [1, 1, np.nan]])
    assert few == pytest.approx((1, 1 - half, 1 + half))
    for x in ([[5.0]], [5.0], [[5.0, np.nan], [np.nan, np.nan]], [], [np.nan]):
        assert np.isnan(interval(six, x)[1:]).all()


# Standard deviations between seeds, between sentences, and of what is left, as in runs of SST-5.
ACCURACY = (0, 0.25, 0.34)  # a difference of two models
COSINE = (0.016, 0.021, 0.048)  # the polarity cosine, DistilBERT's - KD-TinyBERT's
FLIPS = (0.034, 0.23, 0.41)  # the flip rate of BERT - that of random tokens
COLLAPSE = (0.3, 0.1, 0.1)  # seeds differ most


@pytest.mark.parametrize("deviations", [ACCURACY, COSINE, FLIPS, COLLAPSE])
@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_interval_covers_trainings_if_there_are_two(six, seeds, deviations):
    rng, hits = np.random.default_rng(0), []
    for _ in range(400):
        x = sum(rng.normal(0, sd, shape) for sd, shape in
                zip(deviations, ((seeds, 1), (1, 60), (seeds, 60))))
        mean, low, high = interval(six, x)
        hits.append(low < 0 < high)
        if seeds > 1:
            of_seeds = stats.t.ppf(0.975, seeds - 1) * x.mean(1).std(ddof=1) / seeds**0.5
            assert high - mean >= of_seeds - 1e-12
    if seeds > 1 or deviations == ACCURACY:
        assert np.mean(hits) >= 0.93
    else:
        assert np.mean(hits) < 0.9


@pytest.mark.parametrize("seeds, sentences, rate", [(3, 150, 0.01), (5, 150, 0.005), (5, 25, 0.03)])
def test_interval_covers_what_a_few_sentences_decide_at_every_seed(six, seeds, sentences, rate):
    rng, hits = np.random.default_rng(0), []
    for _ in range(400):
        mean, low, high = interval(six, np.tile(rng.random(sentences) < rate, (seeds, 1)))
        hits.append(low < rate < high)
    assert np.mean(hits) >= 0.93


def test_the_rule_says_how_often_a_verdict_is_wrong(six, monkeypatch):
    """The truth lies on the bound of all three comparisons, or of one and inside the others."""
    rng = np.random.default_rng(0)
    measures = {"models": pd.DataFrame({"model": ["distilbert", "kd_tinybert"],
                                        "checkpoint_digest": "xy"})}

    def rate(verdict, truths):
        comparisons = [six.Comparison("accuracy", str(truth), above=0) for truth in truths]
        return np.mean([six.judge(measures, comparisons, [])[0] == verdict for _ in range(3000)])

    def estimate(measures, metric, of, minus):
        mean = float(of) + rng.normal()
        return {"low": mean - 1.96, "high": mean + 1.96, "n": 9}

    monkeypatch.setattr(six, "estimate", estimate)
    assert rate("does not hold", [0]) == pytest.approx(0.025, abs=0.01)
    assert rate("does not hold", [0] * 3) == pytest.approx(0.073, abs=0.015)
    assert rate("holds", [0, 9, 9]) == pytest.approx(0.025, abs=0.01)
    assert max(len(claim.comparisons) for claim in six.CLAIMS) == 3


def rows_of_cosines(**values):
    """direction: {pair: the polarity cosines of two sentences in each of the seeds 42 and 43}."""
    keys = [*product((42, 43), "ab")]
    return {"direction": pd.DataFrame([
        {"seed": seed, "id": i, "pair": f"bert/{model}", "explainer": "shap", "polarity_cosine": x}
        for model, of_model in values.items() for (seed, i), x in zip(keys, of_model)])}


def test_estimate_by_hand(six):
    measures = rows_of_cosines(distilbert=[1, 3, 5, None], kd_tinybert=[0.5, None, 0.5, None])
    e = six.estimate(measures, "polarity cosine", "bert/distilbert")
    assert (e["mean"], e["n"], e["seeds"]) == (3, 3, {42: 2, 43: 5})
    assert e["sd"] == pytest.approx(2**0.5)  # within seed 42; seed 43 has one value
    measures["direction"] = measures["direction"][::-1]  # matched by seed and id, not by place
    e = six.estimate(measures, "polarity cosine", "bert/distilbert", "bert/kd_tinybert")
    assert (e["mean"], e["n"], e["seeds"]) == (2.5, 2, {42: 0.5, 43: 4.5})
    nothing = six.estimate(measures, "polarity cosine", "bert/distilbert", "distilbert/kd_tinybert")
    assert nothing["n"] == 0
    orders = pd.DataFrame({"seed": 42, "model": "bert", "positive": [*"aabb"], "negative": "c",
                           "second_polarity": [0, 2] * 2,
                           "cue_not_in_top3": [True, False, True, None],
                           "chance_cue_not_in_top3": 0.7})
    models = {"models": pd.DataFrame({"seed": [42]})}
    e = six.estimate(models | {"contrast": orders}, "if right, adjective not in top 3", "bert")
    assert (e["mean"], e["n"]) == (0.75, 2)  # a cell is a pair of adjectives: 0.5 and 1
    assert e["baseline"] == pytest.approx(0.7)
    of_kd = orders[::-1].assign(model="kd_tinybert", cue_not_in_top3=[1, None, 0, 0])
    both = models | {"contrast": pd.concat([orders, of_kd])}
    e = six.estimate(both, "if right, adjective not in top 3", "bert", "kd_tinybert")
    assert (e["mean"], e["n"]) == (0.5, 1)  # order by order: 1 - 0 and 0 - 0


def test_an_interval_ends_where_its_values_end(six):
    measures = rows_of_cosines(distilbert=[0.9, 1, 0.2, 0.8], kd_tinybert=[-0.9, -1, 1, -1],
                               bert_next=[0.9, 0.9, 0.8, 0.8])
    level = six.estimate(measures, "polarity cosine", "bert/distilbert")
    assert (level["low"], level["high"]) == (-1, 1)
    difference = six.estimate(measures, "polarity cosine", "bert/distilbert", "bert/kd_tinybert")
    assert (difference["low"], difference["high"]) == (-2, 2)
    berts = six.estimate(measures, "polarity cosine", "bert/bert_next")  # its pairs share models
    assert np.isnan(berts["low"]) and berts["seeds"] == pytest.approx({42: 0.9, 43: 0.8})
    difference = six.estimate(measures, "polarity cosine", "bert/bert_next", "bert/distilbert")
    assert np.isfinite(difference["low"])
    equal = six.estimate(measures, "polarity cosine", "bert/distilbert", "bert/distilbert")
    assert six.estimate_text(equal) == "0.000 [-1.850, 1.850]†"  # 3.7 of 2
    flips = pd.DataFrame({"seed": 42, "id": list("abcd"), "model": "bert", "explainer": "shap",
                          "k": [3, 3, 3, 5], "flip": [True, False, False, True],
                           "random_flip": 0.0})
    run = {"faithfulness": flips, "models": pd.DataFrame({"seed": [42]})}
    rate = six.estimate(run, "FlipRate@3", "bert")
    assert (rate["mean"], rate["low"], rate["high"]) == (pytest.approx(1 / 3), 0, 1)
    run["models"] = pd.DataFrame({"seed": [42, 43]})  # now one of two seeds: no interval
    rate = six.estimate(run, "FlipRate@3", "bert")
    assert rate["mean"] == pytest.approx(1 / 3) and np.isnan([rate["low"], rate["high"]]).all()
    assert np.isfinite(six.estimate(run, "FlipRate@3", "bert", seed=42)["low"])


@pytest.mark.parametrize("low, high, verdict", [
    (0.1, 0.3, "holds"), (-0.3, -0.1, "does not hold"), (-0.1, 0.3, "undecided"),
    (0.0, 0.2, "undecided"), (-0.2, 0.0, "undecided"), (np.nan, np.nan, "undecided")])
def test_verdicts(six, low, high, verdict):
    above, below = (six.Comparison("accuracy", "bert", **{side: 0}) for side in ("above", "below"))
    assert six.verdict_on(low, high, above) == six.verdict_on(-high, -low, below) == verdict


def test_the_papers_numbers_and_claims(six):
    def paper(title, of_pairs=False, **which):
        names = common.PAIRS if of_pairs else common.PAPER_MODELS
        return [six.paper_value(title, name, **which) for name in names]

    for rate in paper("FlipRate@3"):
        assert round(rate * 150) / 150 == pytest.approx(rate, abs=5e-4)  # 67, 59 and 0 of 150
    overlaps = zip(paper("Jaccard@10", True), paper("Overlap@10", True))
    assert all(jaccard > x / (2 - x) for jaccard, x in overlaps)  # by Jensen, if all have 10 tokens
    sds = paper("cosine", True, sd=True)
    assert paper("variance of the cosine", True) == pytest.approx(np.square(sds))
    assert paper("accuracy") == [0.538, 0.517, 0.541] and np.isnan(paper("never")).all()
    assert [claim.number for claim in six.CLAIMS] == list(range(1, 21))
    for claim in six.CLAIMS:
        for one in claim.comparisons:  # without a remark: the order that the paper states
            assert one.metric in six.METRICS and {one.above, one.below} != {None}
            assert {one.above, one.below} == {0, None} or claim.remark
    verdicts = {claim.number: six.verdict_of_the_paper(claim) for claim in six.CLAIMS}
    assert [n for n, verdict in verdicts.items() if verdict == "holds"] == [2, 3, 5, 6, 7, 9]
    assert [n for n, verdict in verdicts.items() if verdict == "holds in part"] == [11, 19]
    assert [n for n, verdict in verdicts.items() if verdict == "does not hold"] == [14]


ODD = "a|b *c* _d_ `e` <b>f</b> [g](h) but\ni"
SAFE = r"a\|b \*c\* \_d\_ \`e\` \<b\>f\</b\> \[g\](h) but i"  # in Markdown


def made(folder, seeds, standins=False, methods=("shap", "lime", "ig"), text=ODD, collapsed=()):
    """Artifacts of random numbers as 03 to 05 write them; one more BERT, of seed 41."""
    models = {"seed": seeds, "model": [*common.PAPER_MODELS, "kd_aligned"]}
    subset = [{"id": f"s{i}", "text": text, "label": i % 5} for i in range(8)]
    ids, by = {"id": [row["id"] for row in subset]}, {"explainer": methods}
    pairs = {"seed": seeds, "pair": [*common.PAIRS, "bert/kd_aligned", "bert/bert_next"]}
    pairs |= by | ids | {"k": [10]}
    spec = {  # columns whose values are combined, columns of random numbers
        "models": (models, "training_seconds"),
        "predictions": (models | ids | {"label": [1], "predicted": [1], "right": [True]}, ""),
        "faithfulness": (models | by | ids | {"k": [3, 5]}, "confidence_drop flip random_drop "
                         "random_flip masked_drop masked_flip drop_over_random flip_over_random"),
        "short_tokens": (models | ids, "short_token_ratio short_share_of_words"),
        "agreement": (pairs, "jaccard overlap chance_jaccard chance_overlap"),
        "direction": (pairs, "cosine cosine_top10 polarity_cosine same_prediction"),
        "completeness": (models | ids, "relative_gap"),
        "explainers": (models | ids | {"k": [3], "explainer": [f"shap/{m}" for m in methods[1:]]},
                       "jaccard chance_jaccard"),
        "contrast": (models | {"positive": "ab", "negative": "cd", "second_polarity": [0, 2]},
                     "post_but_ratio uniform_ratio ratio_over_uniform but_minus_and "
                     "cue_not_in_top3 chance_cue_not_in_top3 cue_not_in_top3_over_chance "
                     "follows_second_clause swaps_with_clauses "
                     "less_confident_without_but confidence_drop_without_but"),
        "example": (models | {"condition": ["Original", "Without “but”", "Flipped clauses"],
                              "polarity": ["Pos"]}, "confidence"),
        "negation": (models | {"adjective": "ab", "out of scope": [None]}, "not never n't hardly"),
        "words": (models | ids, "function_share function_token_share sentiment_share "
                  "sentiment_token_share chance_cue_not_in_top3 cue_not_in_top3")}
    rng, measures = np.random.default_rng(0), {}
    for name, (keys, columns) in spec.items():
        rows = [dict(zip(keys, values)) for values in product(*keys.values())]
        measures[name] = [row | {c: rng.uniform(0.2, 0.8) for c in columns.split()} for row in rows]
    for row in measures["models"]:
        layers, size = (12, 109_486_085) if row["model"] == "bert" else (6, 66_958_085)
        row |= {"layers": layers, "parameters": size, "type": "mpnet" if standins else "bert",
                "milliseconds": 1.0,
                "checkpoint": f"x/mini_{layers}" if standins else row["model"]}
        row["checkpoint_digest"] = row["checkpoint"]
    for row in measures["predictions"]:  # of 8 sentences two have the most frequent class, 0
        row["label"] = int(row["id"][1:]) % 5
        row["right"] = row["label"] == 0 or row["model"] not in collapsed
    for measure, row in (("completeness", {"relative_gap": 9}), ("models", {}),
                         ("predictions", {"id": "s1", "right": False})):
        measures[measure].append({"seed": 41, "model": "bert"} | row)
    measures["direction"].append(measures["direction"][-1] | {"seed": 41})
    common.write_jsonl(folder / "subset.jsonl", subset)
    labels = product(common.SPLITS, range(5))
    common.write_jsonl(folder / "labels.jsonl", [
        {"split": split, "label": label, "sentences": 9} for split, label in labels])
    common.write_json(folder / "settings/environment.json", {
        "commit": "b", "device": "cpu", "machine": "m", "threads": 1, "versions": {"torch": "2"}})
    for method in methods:
        common.write_json(folder / f"settings/{method}.json", {"sentences": 8})
    names = [f"{row['model']}_{row['seed']}" for row in measures["models"]]
    for measure, rows in measures.items():
        files = {}  # a pair stands with its second model, "bert/bert_next" with BERT of seed + 1
        for name in names:
            if name != "bert_41" or measure not in ("contrast", "example", "negation", "words"):
                files[name] = []
        for row in rows if methods[1:] or measure not in ("short_tokens", "completeness") else ():
            model, seed = row.get("pair", f"/{row.get('model')}").partition("/")[2], row["seed"]
            name = f"bert_{seed + 1}" if model == "bert_next" else f"{model}_{seed}"
            files.setdefault(name, []).append(row)
        for name, of_model in files.items():
            common.write_jsonl(folder / f"measures/{measure}.{name}.jsonl", of_model)
    of_tokens = {"tokens": [*"ab"][:len(text)], "spans": [[0, 1], [1, 3]][:len(text)]}
    of_words = {"words": ["a"], "spans": [[[0, 1]]], "attributions": [0.5]}
    for name in names:
        of_tokens["attributions"] = rng.normal(size=(len(of_tokens["tokens"]), 5))
        for method in methods:
            row = {"predicted": 1, "probabilities": [0.1, 0.4, 0.3, 0.1, 0.1]}
            row |= of_words if method == "lime" else of_tokens
            rows = [sentence | row for sentence in subset]
            common.write_jsonl(folder / f"explanations/{name}.{method}.jsonl", rows)
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
    assert status == 0 and out.count("\n") == 2
    assert out.startswith("not shown: bert_41;")
    assert not [word for word in ("nan", "None", "{", "inf") if word in report + out]
    numbers = ", ".join(map(str, untested)) or "none"
    assert "The paper’s 19 [claims]" in report
    assert f"Not tested: {len(untested)} ({numbers}).\n" in report
    assert report.split("\n")[3].startswith("- KD-aligned is ours: it is distilled like ")
    assert report.count("## Table ") == 5 and report.count("\n") <= 250
    assert ("Not in this run." in report) == ("methods" in how)
    assert report.split("\n")[2].startswith(f"- Seeds: {', '.join(map(str, how['seeds']))}. ")
    assert len(report.split("\n\n")[1].split("\n")) <= 7
    one = len(how["seeds"]) == 1
    first_line = report.split("\n")[2]
    assert one == ("**One training" in first_line) == ("| SHAP, of this one training |" in report)
    assert one == ('`SEEDS="42 43 44"` in front of the command' in first_line)
    assert one == ("one seed alone decides" not in report) and "learned" not in first_line
    starred = "KD-TinyBERT\\* | mini\\_6 | 6 | 67.0 M" in report
    assert starred == bool(how.get("standins")) == ("are one comparison" in report)
    assert "KD-aligned" in page and page.count("<article") == 8
    assert (SAFE in report) != ("text" in how) and "<b>f</b>" not in report + page
    rows = pd.read_json(tmp_path / "tables/estimates.jsonl", lines=True)
    assert len(rows.query("table == 'Table 1'")) == 4 * 7 and "bert_only" not in report
    assert len(rows.query("table == 'Faithfulness by k'")) == 4 * 2 * 2
    assert rows.query("metric == 'weighted F1'")["low"].isna().all()
    assert ("IG’s attributions miss the change" in report) == ("methods" not in how)
    assert report.endswith("\n\nBegun at commit b, this report c; cpu, m, 1 threads; torch 2.\n")
    (tmp_path / "settings/environment.json").unlink()
    assert "unknown" in six.made_with(tmp_path) and "this report: c." in six.made_with(tmp_path)


def test_what_is_not_measured_is_left_out_and_said(six, call, tmp_path):
    made(tmp_path, (42, 43), methods=("shap",))
    (tmp_path / "measures/words.kd_aligned_42.jsonl").unlink()  # 05 was interrupted
    (tmp_path / "measures/words.distilbert_43.jsonl").unlink()
    _, out, _ = call("06", "--artifacts", tmp_path)
    assert ("not shown: bert_41, kd_aligned_42, bert_43, distilbert_43, kd_tinybert_43, "
            "kd_aligned_43") in out
    report = (tmp_path / "report.md").read_text()
    assert "- Seeds: 42. " in report and "KD-aligned |" not in report
    (tmp_path / "measures/words.bert_42.jsonl").unlink()
    status, _, err = call("06", "--artifacts", tmp_path)
    assert status == 2 and err.count("\n") == 1 and "no seed in" in err


@pytest.mark.parametrize("seeds", [(42,), (42, 43, 44)])
def test_models_that_learned_nothing_decide_nothing(six, tmp_path, seeds):
    every = [*common.PAPER_MODELS, "kd_aligned"]
    measures = six.load_measures(made(tmp_path, seeds, collapsed=every))
    assert six.learned_nothing(measures) == six.learned_nothing(measures, seed=42) == every
    claims = six.judge_claims(measures)
    for claim in claims:
        assert {claim["verdict"], *claim["by_seed"].values()} == {"not tested"}
        assert claim["ig"] in ("not tested", "")
    assert "**Not shown to have learned" in six.summary_md(measures, str, claims, {})
    measures = six.load_measures(made(tmp_path, seeds, collapsed=["kd_tinybert"]))
    claims = six.judge_claims(measures)
    assert ": kd\\_tinybert. No claim" in six.summary_md(measures, str, claims, {})
    tested = {claim["claim"] for claim in claims if claim["verdict"] != "not tested"}
    assert tested == {4}  # it compares neither KD-TinyBERT nor one of its pairs
    if len(seeds) > 1:  # a training that collapsed decides nothing of its own seed
        rows = measures["predictions"]
        rows.loc[rows["seed"] > 42, "right"] = True
        six.add_derived_columns(measures)
        by_seed = six.judge_claims(measures)[5 - 1]["by_seed"]
        assert [by_seed[seed] == "not tested" for seed in seeds] == [True, False, False]


def test_the_models_that_a_comparison_rests_on(six):
    measures = {"models": pd.DataFrame({"model": ["tinybert_ce"]})}
    next_bert = six.Comparison("cosine", "bert/bert_next", "bert/kd_tinybert")
    assert six.models_of(measures, [next_bert]) >= {"bert", "kd_tinybert"}
    control = six.Comparison("cosine", "bert/kd_tinybert", "bert/gold_control")
    assert "tinybert_ce" in six.models_of(measures, [control])
    assert "distilbert" not in six.models_of(measures, [next_bert, control])


def test_the_verdicts_of_other_runs_stand_beside(six, tmp_path):
    def records(verdicts, seeds):
        above = [six.Comparison("accuracy", "bert", above=0.5)._asdict()]
        return [{"claim": n, "verdict": verdict, "section": "", "quote": f"q{n}", "remark": "",
                 "comparisons": [one | {"mean": n, "low": 0, "high": 9, "all_equal": False,
                                        "seeds": {}, "verdict": verdict} for one in above],
                 "ig": "", "by_seed": dict.fromkeys(seeds, verdict), "paper": ""}
                for n, verdict in enumerate(verdicts, 1)]

    def beside(rows, ours):
        common.write_jsonl(tmp_path / "tables/claims.jsonl", rows)
        found = six.verdicts_beside([str(tmp_path)])
        line, = six.beside_md(ours, found)
        table = six.claims_md(ours, str, found).split("\n")[2:]
        return line, [row.split(" | ")[-1].removesuffix(" |") for row in table]

    claims = records(["holds", "holds", "does not hold", "undecided", "holds"], (42, 43))
    there = ["holds", "does not hold", "does not hold", "holds", "holds"]
    rows = records(there, ("61", "62"))
    rows[4]["comparisons"][0]["above"] = 0.4  # of another version, though its number is the same
    line, verdicts = beside(rows, claims)
    assert "seeds 61, 62: " in line and ": 3 claims, 2 of them alike; turned round: 2;" in line
    assert line.endswith("not compared: 5.") and verdicts == [*there[:4], "another version"]
    rows = records(there, ("61",))  # one training decides nothing
    line, verdicts = beside(rows, claims)
    assert "seeds 61: " in line and ": 0 claims" in line and verdicts == there


def test_size_by_hand(six, tmp_path):
    measures = six.load_measures(made(tmp_path, (42, 43)))
    measures["models"]["milliseconds"] = [4, 2, 1, 1, 6, 2, 3, 1]
    measures["models"]["training_seconds"] = [9, 0, 2000, 1, 11, 0, 2000, 1]
    measures["models"].loc[measures["models"]["model"] == "kd_aligned", "parameters"] = 10**6
    lines = [line.split(" | ") for line in six.size_table(measures, str).split("\n")[-4:]]
    assert [line[0] for line in lines] == [f"| {escaped}" for escaped in (
        "bert", "distilbert", r"kd\_tinybert", r"kd\_aligned")]
    assert lines[0][1:6] == ["bert", "12", "109.5 M", "10 s", "5.0"]
    assert lines[1][4] == "0 s" and lines[2][4:6] == ["2,000 s", "2.0"]
    for line, pair in zip(lines, ("bert/bert_next", "bert/distilbert", "bert/kd_tinybert")):
        rows = measures["agreement"]
        rows = rows[(rows["pair"] == pair) & (rows["explainer"] == "shap")]
        assert line[-1].startswith(f"{rows['jaccard'].mean():.3f}")


def test_claims_turn_with_their_rows(six, tmp_path):
    measures = six.load_measures(made(tmp_path, (42, 43)))
    assert set(measures["direction"]["seed"]) == {42, 43}
    for shift, verdict in ((9, "holds"), (-9, "does not hold")):
        rows = measures["agreement"].copy()
        turned = rows["pair"].eq("bert/distilbert") & rows["explainer"].eq("shap")
        rows.loc[turned, "jaccard"] += shift
        claim = six.judge_claims(measures | {"agreement": rows})[7 - 1]
        assert claim["verdict"] == verdict == claim["by_seed"][42] and claim["ig"] != verdict
    measures["models"]["checkpoint_digest"] = "x"  # now the students have one start
    rows.loc[rows["pair"].eq("distilbert/kd_tinybert"), "jaccard"] += 99
    claim = six.judge_claims(measures | {"agreement": rows})[7 - 1]
    assert [one["verdict"] for one in claim["comparisons"]] == ["does not hold", "not tested"]
    rows.loc[turned, "jaccard"] += 18
    assert six.judge_claims(measures | {"agreement": rows})[7 - 1]["verdict"] == "holds"
    claims = six.judge_claims(measures)
    assert claims[0]["ig"] == claims[1]["ig"] == ""  # neither depends on the explainer
    for claim in claims:  # the question, 20, is counted apart
        claim |= {"verdict": "holds", "by_seed": {42: "undecided", 43: "does not hold"}}
    claims[6]["by_seed"][42] = "does not hold"
    numbers = ", ".join(map(str, range(1, 20)))
    line = f"one seed alone decides otherwise: 42: 7; 43: {numbers}.\n"
    assert line in six.summary_md(measures, str, claims, {})
    rows = measures["faithfulness"].query("model == 'bert' and explainer == 'ig' and k == 3")
    below = [six.Comparison("FlipRate@3", "bert", below=0.9)]
    verdict, (one,) = six.judge(measures, below, [], explainer="ig")
    assert one["mean"] == pytest.approx(rows["flip"].mean()) and verdict == "holds"
    kinds = {"holds": ("bert", None, None, 0.9), "undecided": ("bert", None, one["mean"]),
             "not tested": ("tinybert_ce", None, 0), "does not hold": ("bert", None, 0.9)}
    for n, verdict in enumerate(kinds, 1):  # each is stronger than those before it
        comparisons = [six.Comparison("FlipRate@3", *rest) for rest in [*kinds.values()][:n]]
        assert six.judge(measures, comparisons, [], explainer="ig")[0] == verdict


def test_claims_1_and_18_are_decided_where_no_model_misses_the_adjective(six, tmp_path):
    """Equal rates of 4 pairs of adjectives have the interval +- 3.7 / 4; noise lets them differ."""
    measures = six.load_measures(made(tmp_path, (42, 43)))
    rows, of_kd = measures["contrast"], measures["contrast"]["model"].eq("kd_tinybert")
    noise = rows["positive"].eq("a") * 0.001

    def verdicts(rate_of_kd, rate_of_others):
        rows["cue_not_in_top3"] = np.where(of_kd, rate_of_kd, rate_of_others) + of_kd * noise
        rows["cue_not_in_top3_over_chance"] = rows["cue_not_in_top3"] - 0.5 + noise
        claims = six.judge_claims(measures)
        return [claims[number - 1]["verdict"] for number in (1, 18)]

    assert verdicts(0, 0) == ["does not hold", "does not hold"]
    assert verdicts(0.3, 0) == ["holds", "does not hold"]
    assert verdicts(0.9, 0) == ["holds", "holds"]
    assert verdicts(0.9, 0.8) == ["holds", "does not hold"]


def test_derived_columns_by_hand(six):
    direction = pd.DataFrame({"seed": 1, "pair": [*"aaab"], "explainer": "shap", "id": [*"xyzx"],
                              "cosine": [0.2, 0.4, None, 0.9], "polarity_cosine": 1.0})
    predicted = {"bert": [0, 0, 3], "distilbert": [0, 3, 3], "kd_tinybert": [4, 3, 0]}
    predictions = pd.DataFrame([
        {"seed": 1, "model": model, "id": i, "label": label, "predicted": p, "right": p == label}
        for model, classes in predicted.items() for i, label, p in zip("xyz", (0, 3, 3), classes)])
    agreement = direction[::-1].copy()
    measures = {"direction": direction, "agreement": agreement, "predictions": predictions}
    six.add_derived_columns(measures)
    assert list(measures["direction"]["cosine_deviation"][:2]) == pytest.approx([0.01, 0.01])
    assert measures["direction"]["cosine_deviation"][3] == 0
    assert set(measures["direction"]["polarity_cosine_deviation"]) == {0}
    buckets = ["bert_dbert", "dbert_kd_pair", "bert_dbert", "bert_dbert"]
    assert list(measures["direction"]["bucket"]) == buckets
    assert list(measures["agreement"]["bucket"]) == buckets[::-1]
    assert list(predictions["is_most_frequent"]) == [False, True, True] * 3
    assert list(predictions["over_most_frequent"]) == [1, -1, 0, 1, 0, 0, 0, 0, -1]
    assert list(predictions["as_bert"]) == [True] * 3 + [True, False, True] + [False] * 3
    e = six.estimate(measures | {"models": predictions}, "weighted F1", "bert")
    # classes 0 and 3: 2 * 1/2 * 1 / (1/2 + 1) each, weighted by 1 and 2 sentences
    assert e["mean"] == pytest.approx(2 / 3) and np.isnan(e["low"])
    assert set(six.BUCKETS) == set(product([False, True], repeat=3))
    assert len(set(six.BUCKETS.values())) == 8
    assert six.BUCKETS[True, False, True] == "bert_kd_pair"  # BERT, DistilBERT, KD-TinyBERT


def test_gold_control_needs_the_same_start(six):
    models = ["distilbert", "kd_tinybert", "tinybert_ce"]
    for starts, pair in (("xx", "bert/distilbert"), ("xy", None), ("xyy", "bert/tinybert_ce")):
        rows = pd.DataFrame(zip(models, starts), columns=["model", "checkpoint_digest"])
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
    row = {"text": "a\x1b[2J\x00\n", "predicted": 0, "spans": [[0, 1], [0, 1], [2, 3]],
           "tokens": ["a", "a", "["], "attributions": [[1.0] * 5, [0.0] * 5, [0.0] * 5]}
    assert re.sub("<sub>.*?</sub>|<.*?>", "", six.marked(row)) == "a�[2J�\n"  # each letter once
    assert six.escaped(row["text"]) == r"a�\[2J�"
