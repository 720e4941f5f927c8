"""common.py, 01, 02 and 03: asking models, training, explaining, and files that can be trusted."""
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch.optim.optimizer import register_optimizer_step_pre_hook
from common import (LABELS, OneDNNLinear, autocast, cosine, delete_measures_of, encode, explain_all,
                    explain_shap, explained_models, explained_rows, fit, load_classifier,
                    load_encoder, load_explanations, load_splits, mask_embedding, mean_embedding,
                    model_is_there, pick_device, pin_settings, pin_training_settings,
                    polarity_attributions, predict_proba, predicted_attributions, read_json, remove,
                    save_classifier, shuffled_batches, token_ids, top_k, write_json, write_jsonl)
from conftest import WEIGHTS

import standins

TEXTS = ["a superb film !", "dull", "the ending was long but the film was excellent , really"]
CPU = torch.device("cpu")


def training_args(folder, **changes):
    flags = {"artifacts": folder, "model": "bert", "seed": 42, "precision": "fp32", "epochs": 9,
             "batch_size": 32, "learning_rate": 1e-3, "patience": 2, "group_by_length": False,
             "checkpoint": "a/model"}
    return SimpleNamespace(**flags | changes)


# --- The classifier

def test_a_batch_gives_what_each_text_gives_alone_and_ids_give_what_texts_give(tiny):
    texts = [*TEXTS, TEXTS[0], *(" ".join(["good"] * n) for n in range(60))]  # several batches
    together = predict_proba(*tiny, texts)
    alone = np.concatenate([predict_proba(*tiny, [text]) for text in texts])
    by_ids = predict_proba(*tiny, [token_ids(tiny[1], text) for text in texts])
    assert np.abs(together - alone).max() < 1e-6 and np.abs(together - by_ids).max() < 1e-6
    assert together.std(0).max() > 0.01 and together.sum(1) == pytest.approx(1)


@pytest.mark.parametrize("encoder", ["random-bert", "random-distilbert", "random-tinybert"])
def test_a_saved_classifier_gives_the_logits_of_the_plain_model(smoke, tmp_path, encoder):
    model, tokenizer = load_encoder(str(smoke / encoder), seed=1)
    for parameter in model.parameters():
        parameter.data.mul_(4)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt", return_token_type_ids=False)
    plain = model.eval()(**batch).logits.softmax(-1).detach().numpy()
    save_classifier(model, tokenizer, [], training_args(tmp_path))
    loaded, tokenizer = load_classifier(tmp_path, "bert_42", CPU)
    assert np.abs(predict_proba(loaded, tokenizer, TEXTS) - plain).max() < 1e-6


def product_errors(layer, *weights):
    """Relative errors, against float64, of a layer's products: its output, and the gradients in its
    input and in these of its weights."""
    exact, found = torch.nn.Linear(layer.in_features, layer.out_features).double(), []
    exact.load_state_dict(layer.state_dict())
    inputs = torch.randn(8, 9, layer.in_features, generator=torch.Generator().manual_seed(0))
    for of, x in ((layer, inputs.clone()), (exact, inputs.double())):
        y, weights_of = of(x.requires_grad_()), [getattr(of, name) for name in weights]
        found.append([y, *torch.autograd.grad(y.square().sum(), [x, *weights_of])])
    return [float((a - b).norm() / b.norm()) for a, b in zip(*found)]


@pytest.mark.parametrize("maker", ["GenuineIntel", "AuthenticAMD"])
def test_training_and_explaining_multiply_in_fp32(smoke, tmp_path, monkeypatch, maker):
    read_text, errors = Path.read_text, []
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(Path, "read_text", lambda path, **how: maker if path.name == "cpuinfo"
                        else read_text(path, **how))
    model, tokenizer = load_encoder(str(smoke / "random-bert"), seed=1)
    rows = load_splits(str(smoke / "text"))["train"][:64]

    def loss(logits, labels, split, rows):
        if split == "train":
            errors.extend(product_errors(model.bert.pooler.dense, "weight", "bias"))
        return logits.sum()

    fit(model, tokenizer, {"train": rows, "validation": rows}, loss, training_args("", epochs=1))
    save_classifier(model, tokenizer, [], training_args(tmp_path))
    layer = load_classifier(tmp_path, "bert_42", CPU)[0].bert.pooler.dense
    errors += product_errors(layer)
    assert len(errors) == 10 and max(errors) < 5e-6
    with autocast(CPU, "bf16"):
        assert layer(torch.ones(2, layer.in_features)).dtype == torch.bfloat16
    is_onednn = type(layer) is type(model.bert.pooler.dense) is OneDNNLinear
    libraries = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    assert is_onednn == (maker == "AuthenticAMD" and libraries and Path("/proc/cpuinfo").is_file())


def test_the_half_checkpoint_has_the_kept_layers(smoke, tmp_path):
    standins.make_shallow(smoke / "random-bert", tmp_path / "half", kept=[1])
    whole, _ = load_encoder(str(smoke / "random-bert"), 1)
    half, _ = load_encoder(str(tmp_path / "half"), 1)
    assert half.config.num_hidden_layers == len(half.bert.encoder.layer) == 1
    for name, weight in half.bert.encoder.layer[0].state_dict().items():
        assert torch.equal(weight, whole.bert.encoder.layer[1].state_dict()[name])
    assert torch.equal(half.classifier.weight, whole.classifier.weight)  # of the same seed


# --- Training

def test_every_sentence_is_once_in_an_epoch_and_like_lengths_share_batches():
    lengths = np.random.default_rng(0).integers(5, 60, size=1000)

    def padding(batches):
        return sum(max(lengths[rows]) * len(rows) for rows in batches) / lengths.sum()

    plain = shuffled_batches(lengths, 32, 42, 1, False)
    grouped = shuffled_batches(lengths, 32, 42, 1, True)
    for batches in (plain, grouped):
        assert sorted(np.concatenate(batches)) == list(range(1000))
    assert padding(grouped) < 1.1 < 1.5 < padding(plain)
    assert list(plain[0]) == list(shuffled_batches(lengths, 32, 42, 1, False)[0])
    assert list(plain[0]) != list(shuffled_batches(lengths, 32, 42, 2, False)[0])


def test_training_stops_after_two_worse_epochs_and_keeps_the_best_weights(smoke):
    model, tokenizer = load_encoder(str(smoke / "random-bert"), seed=1)
    rows = load_splits(str(smoke / "text"))["train"][:64]
    splits = {"train": rows, "validation": rows}
    planned, weights = iter([1.0, 0.5, 0.7, 0.6, 0.1]), []

    def loss(logits, labels, split, rows):  # the validation loss is what was planned
        if split == "train":
            return logits.sum()
        weights.append(model.classifier.weight.detach().clone())
        return logits.sum() * 0 + next(planned)

    log = fit(model, tokenizer, splits, loss, training_args(""))
    assert [round(epoch["validation_loss"], 3) for epoch in log] == [1.0, 0.5, 0.7, 0.6]
    assert torch.equal(model.classifier.weight, weights[1])
    assert not torch.equal(weights[1], weights[3]) and not model.training


def test_the_warm_up_is_linear_over_a_tenth_and_gradients_are_clipped_at_1(smoke):
    model, tokenizer = load_encoder(str(smoke / "random-bert"), seed=1)
    rows = load_splits(str(smoke / "text"))["train"][:64]
    rates, norms = [], []

    def record(optimizer, *_):
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        rates.append(optimizer.param_groups[0]["lr"])
        norms.append(torch.cat([g.flatten() for g in gradients if g is not None]).norm().item())

    hook = register_optimizer_step_pre_hook(record)
    fit(model, tokenizer, {"train": rows, "validation": rows}, lambda logits, *_: logits.sum(),
        training_args("", epochs=10, patience=10))  # two steps an epoch, 20 in all
    hook.remove()
    expected = [0, 0.5, *(np.arange(18, 0, -1) / 18)]
    assert rates == pytest.approx(np.array(expected) * 1e-3)
    assert norms == pytest.approx([1] * 20, rel=1e-3)


def test_the_distillation_loss_by_hand(scripts):
    loss = scripts["02"].distillation_loss
    student, teacher = torch.tensor([[2.0, 0, 0, 0, 0]]), torch.tensor([[0.0, 0, 0, 0, 2]])
    e, labels = np.e, torch.tensor([0])
    high, low = e / (e + 4), 1 / (e + 4)  # both softmaxes at T = 2
    kl = high * np.log(high / low) + low * np.log(low / high)
    ce = -np.log(e**2 / (e**2 + 4))
    assert loss(student, teacher, labels).item() == pytest.approx(0.5 * ce + 0.5 * 4 * kl, rel=1e-5)
    assert loss(teacher, teacher, labels, alpha=0).item() == pytest.approx(0, abs=1e-6)
    twice = loss(student.repeat(2, 1), teacher.repeat(2, 1), torch.tensor([0, 0]))  # a mean
    assert twice.item() == pytest.approx(loss(student, teacher, labels).item(), rel=1e-6)


def copies(scripts, ids, mask_id, n, **settings):
    rngs = [np.random.default_rng([42, 1, row]) for row in range(n)]  # seed, epoch, row
    return [scripts["02"].perturbed_copy(ids, mask_id, rng, **settings) for rng in rngs]


def test_perturbed_copies_remove_every_number_of_pieces_equally_often(scripts):
    ids, mask = [101, *range(200, 207), 102], 103
    made = copies(scripts, ids, mask, 4000)
    assert made == copies(scripts, ids, mask, 4000)  # the same seed, epoch and row
    assert all(copy[0] == 101 and copy[-1] == 102 for copy in made)
    left = [sum(piece in ids for piece in copy[1:-1]) for copy in made]
    counts = np.bincount(left, minlength=8)
    assert chisquare(counts).pvalue > 0.01 and len(counts) == 8
    deleted = [copy for copy in made if len(copy) < 9]
    masked = [copy for copy in made if mask in copy]
    assert not [copy for copy in deleted if mask in copy]
    assert 0.9 < len(deleted) / len(masked) < 1.1
    assert [101, 102] in made and all(sorted(copy[1:-1]) == copy[1:-1] for copy in deleted)
    assert copies(scripts, ids, mask, 9, max_rate=0) == [ids] * 9


def test_the_distance_of_hidden_states_by_hand(scripts):
    distance = scripts["02"].hidden_distance
    east, north, west = [1.0, 0], [0, 2.0], [-3.0, 0]
    ours = [torch.zeros(3, 2, 2), torch.tensor([[east, north], [east, east], [west, east]]),
            torch.tensor([[east, north], [north, north], [west, north]])]
    theirs = [torch.zeros(3, 2, 2), *[torch.full((3, 2, 2), 9.0)] * 4]
    theirs[2] = torch.tensor([[east, east], [east, east], [east, east]])
    theirs[4] = torch.tensor([[east, north], [east, north], [east, north]])
    mask = torch.tensor([[1, 1], [1, 0], [1, 1]])
    # Layer 1 beside the teacher's 2: 0, 1; 0; 2, 0 of five tokens. Layer 2 beside 4, of [CLS]: 0,
    # 1, 2; with the other tokens, whose distance is 0, it would be 3 / 5.
    assert distance(ours, theirs, mask).item() == pytest.approx((3 / 5 + 3 / 3) / 2)
    assert distance(ours, ours, mask).item() == pytest.approx(0, abs=1e-6)


def alignment_args(**changes):
    flags = {"seed": 42, "precision": "fp32", "perturb_rate": None, "hidden_weight": 0.0,
             "beta": 0.5, "temperature": 2.0}
    return SimpleNamespace(**flags | changes)


def test_the_terms_of_the_remedy(scripts, tiny, smoke):
    (teacher, tokenizer), two = tiny, scripts["02"]
    student = load_encoder(str(smoke / "random-bert"), seed=2)[0].eval()
    ids = encode(tokenizer, TEXTS)
    batch = tokenizer.pad({"input_ids": ids}, return_tensors="pt")
    ours, theirs = [m(**batch, output_hidden_states=True) for m in (student, teacher)]

    def term(model=student, states=ours.hidden_states, **changes):
        return two.alignment_loss(model, states, ids, [0, 1, 2], 1, teacher=teacher,
                                  tokenizer=tokenizer, args=alignment_args(**changes)).item()

    kl = 0.5 * 4 * two.kl_divergence(ours.logits, theirs.logits, 2.0).item()
    h = two.hidden_distance(ours.hidden_states, theirs.hidden_states, batch["attention_mask"])
    assert term(perturb_rate=0.0) == pytest.approx(kl, rel=1e-4) and kl > 1e-4  # copy = text
    assert term(hidden_weight=3.0) == pytest.approx(3 * h.item(), rel=1e-4)
    both = term(perturb_rate=0.0, hidden_weight=3.0)
    assert both == pytest.approx(kl + 3 * h.item(), rel=1e-4)
    assert abs(term(perturb_rate=1.0) - kl) > 1e-5
    both = {"perturb_rate": 1.0, "hidden_weight": 3.0}
    assert term(teacher, theirs.hidden_states, **both) == pytest.approx(0, abs=1e-5)
    assert term(**both, precision="bf16") == pytest.approx(term(**both), rel=0.1)


def test_a_teacher_that_differs_on_perturbed_text_alone_moves_the_student(scripts, tiny, smoke):
    """The teacher is the student, but for its embedding of [MASK]."""
    (teacher, tokenizer), rows = tiny, load_splits(str(smoke / "text"))["train"][:64]
    student = load_encoder(str(smoke / "random-bert"), seed=1)[0]
    student.load_state_dict(teacher.state_dict())
    for module in student.modules():  # without dropout the plain sentences move nothing
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
        teacher.get_input_embeddings().weight[tokenizer.mask_token_id] = vector
    masked = [(tokenizer.mask_token_id,) * 5]
    before, target = predict_proba(student, tokenizer, masked), predict_proba(*tiny, masked)
    settings, falling = alignment_args(perturb_rate=1.0), iter(range(99, 0, -1))

    def nothing(logits, labels, split, rows):  # but a validation loss that keeps the last epoch
        return logits.sum() * 0 + (next(falling) if split == "validation" else 0)

    def extra(*batch):
        return scripts["02"].alignment_loss(*batch, teacher=teacher, tokenizer=tokenizer,
                                            args=settings)

    fit(student, tokenizer, {"train": rows, "validation": rows},
        nothing, training_args("", epochs=20), extra)
    after = predict_proba(student, tokenizer, masked)
    assert np.abs(after - target).sum() < 0.5 * np.abs(before - target).sum()


def test_students_that_cannot_be_compared_are_refused(scripts, tiny, capsys):
    def check(teacher, student, hidden_weight=3.0):
        models = [SimpleNamespace(config=SimpleNamespace(hidden_size=width, num_hidden_layers=n))
                  for width, n in (teacher, student)]
        args = SimpleNamespace(hidden_weight=hidden_weight, checkpoint="x")
        scripts["02"].check_student(models[0], tiny[1], models[1], tiny[1], TEXTS, args)

    check((768, 12), (768, 6))
    check((768, 12), (312, 4), hidden_weight=0)
    for teacher, student in (((768, 12), (312, 4)), ((768, 6), (768, 4))):
        with pytest.raises(SystemExit):
            check(teacher, student)
    assert capsys.readouterr().err.count("\n") == 2


def test_a_batch_without_a_finite_loss_is_counted_and_left_out_of_the_mean(smoke):
    model, tokenizer = load_encoder(str(smoke / "random-bert"), seed=1)
    rows, planned = load_splits(str(smoke / "text"))["train"][:64], iter([2.0, np.inf])

    def loss(logits, labels, split, rows):
        return logits.sum() * 0 + (next(planned) if split == "train" else 1.0)

    model.eval = lambda: None  # an infinite loss is skipped by fp16's scaler, which a CPU lacks
    log = fit(model, tokenizer, {"train": rows, "validation": rows}, loss,
              training_args("", epochs=1))
    assert log[0]["train_loss"] == 2.0 and log[0]["batches_without_finite_loss"] == 1


def test_decoding_and_tokenizing_again_changes_nothing_here(scripts, tiny):
    texts = ["it 's not much of a film , it 's superb !", "a dull , long ending"]
    read = scripts["02"].as_teacher_reads(tiny[1], texts)
    assert [token_ids(tiny[1], t) for t in read] == [token_ids(tiny[1], t) for t in texts]


def test_more_stages_than_gpus_take_them_in_turn(monkeypatch, capsys):
    def zeros(*_, device):
        raise RuntimeError("not in this test")

    monkeypatch.setattr(torch, "zeros", zeros)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "3")
    with pytest.raises(SystemExit):
        pick_device("auto")
    assert "cannot use the device 'cuda:1'" in capsys.readouterr().err


# --- The unit of explanation

def test_top_k_cosine_and_removal_by_hand():
    assert list(top_k([0.1, -0.5, 0.5, 0.2], 3)) == [1, 2, 3]
    assert list(top_k([0.1], 3)) == [0]
    assert cosine(np.array([1.0, 0]), np.array([1.0, 1])) == pytest.approx(0.5**0.5)
    assert np.isnan(cosine(np.zeros(2), np.ones(2)))
    assert remove((7, 8, 9), [np.int64(1)]) == (7, 9)


def test_the_subset_is_balanced_in_order_and_fixed(scripts, smoke, capsys):
    test = load_splits(str(smoke / "text"))["test"]
    drawn = scripts["03"].balanced_subset(test, 3)
    assert sorted(row["label"] for row in drawn) == sorted([0, 1, 2, 3, 4] * 3)
    assert drawn == [row for row in test if row in drawn]
    assert drawn == scripts["03"].balanced_subset(test, 3)
    with pytest.raises(SystemExit):
        scripts["03"].balanced_subset(test, 1000)


# --- Explainers, on a model whose attributions are known and on a random BERT

def test_shap_finds_the_planted_weights_and_adds_up(planted, tiny):
    text = "a superb film but dull"
    row = explain_shap(*planted, text) | {"predicted": 4}
    expected = [WEIGHTS.get(token, 0.0) for token in row["tokens"]]
    assert predicted_attributions(row) == pytest.approx(expected, abs=1e-6)
    assert polarity_attributions(row) == pytest.approx(np.array(expected) * 4, abs=1e-6)
    for reference in (None, mean_embedding(*tiny, [{"text": text}])):
        row = explain_shap(*tiny, text, reference, max_evals=20)  # not enough to finish
        total = row["base_values"] + row["attributions"].sum(0) + row["special_attributions"].sum(0)
        assert total == pytest.approx(predict_proba(*tiny, [text])[0], abs=1e-6)


def test_the_reference_is_put_in_and_taken_out(tiny):
    model, tokenizer = tiny
    table, before = model.get_input_embeddings().weight, model.get_input_embeddings().weight.clone()
    train = [{"text": "superb film"}, {"text": "dull"}]
    vector = mean_embedding(model, tokenizer, train)
    ids = [*token_ids(tokenizer, "superb film"), *token_ids(tokenizer, "dull")]
    assert torch.allclose(vector, before[ids].mean(0))
    with pytest.raises(KeyError), mask_embedding(model, tokenizer, vector):
        assert torch.equal(table[tokenizer.mask_token_id], vector)
        raise KeyError
    assert torch.equal(table, before)


def test_lime_finds_the_planted_words_at_every_place(scripts, planted):
    explain, text = scripts["03"].explain_lime, "superb , superb film but dull"
    row = explain(*planted, text, 4, num_samples=1000)
    assert row["words"][:2] == ["superb", "dull"] and row["attributions"][0] > 0.3
    assert row["spans"][0] == [[0, 6], [9, 15]] and row["polarity_words"][:2] == ["superb", "dull"]
    assert row["polarity_attributions"][0] == pytest.approx(4 * row["attributions"][0], rel=0.02)
    assert explain(*planted, text, 4, 1000) == row
    assert explain(*planted, text, 4, 1000, seed=43)["attributions"] != row["attributions"]
    assert explain(*planted, "?!", 4)["words"] == []


def test_integrated_gradients_of_a_linear_probability_are_weight_times_change(scripts, planted):
    reference = torch.tensor([0.01], dtype=torch.float64)
    row = scripts["03"].explain_ig(*planted, "a superb film but dull", reference) | {"predicted": 4}
    expected = [WEIGHTS.get(token, 0.0) - 0.01 for token in row["tokens"]]
    assert predicted_attributions(row) == pytest.approx(expected, abs=1e-9)
    assert max(row["completeness_gap"]) < 1e-9


@pytest.mark.parametrize("encoder", ["random-bert", "random-distilbert", "random-tinybert"])
def test_integrated_gradients_are_complete_on_a_random_model(scripts, smoke, encoder):
    model, tokenizer = load_encoder(str(smoke / encoder), seed=1)
    for parameter in model.parameters():
        parameter.data.mul_(4)
    reference = mean_embedding(model, tokenizer, [{"text": text} for text in TEXTS])
    row = scripts["03"].explain_ig(model.eval(), tokenizer, TEXTS[2], reference, steps=100)
    change = predict_proba(model, tokenizer, [TEXTS[2]])[0] - row["base_values"]
    assert row["attributions"].sum(0) == pytest.approx(change, abs=0.01 * np.abs(change).max())
    assert np.abs(change).max() > 0.005 and not row["special_attributions"].any()


# --- One folder is one run

def test_explaining_goes_on_after_a_torn_line(tmp_path):
    rows, asked = [{"id": str(i)} for i in range(4)], []

    def explain(row):
        asked.append(row["id"])
        return {"phi": np.float64(row["id"]), "nothing": float("nan")}

    path = tmp_path / "bert_42.shap.jsonl"
    path.write_text('{"id": "0", "phi": 0.0, "nothing": null}\n{"id": "1", "ph')
    done = explain_all(path, rows, explain)
    assert asked == ["1", "2", "3"]
    assert done == {str(i): {"id": str(i), "phi": float(i), "nothing": None} for i in range(4)}
    assert explain_all(path, rows, explain) == done and len(asked) == 3


def test_a_sentence_that_cannot_be_explained_stops_the_others_not(tmp_path, capsys):
    rows, path = [{"id": str(i)} for i in range(4)], tmp_path / "bert_42.shap.jsonl"

    def explain(row, bad="1"):
        if row["id"] == bad:
            raise ArithmeticError("it misses by 1")
        return {}

    with pytest.raises(SystemExit) as stopped:
        explain_all(path, rows, explain)
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and err.count("\n") == 1
    assert all(word in err for word in ("1 sentences", "1 (it misses", "--device cpu"))
    assert len(explain_all(path, rows, lambda row: explain(row, bad="0"))) == 4  # 0 is there


def stops(capsys, call, *words):
    """That call() stops with status 2 and one line with these words."""
    with pytest.raises(SystemExit) as stopped:
        call()
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and err.count("\n") == 1 and all(w in err for w in words), err


def test_the_first_call_settles_how_a_run_is_made(tmp_path, capsys):
    def settle(**settings):
        pin_settings(tmp_path, "shap", settings, ["explanations/*.shap.jsonl"], checkpoint="x")

    settle(evals=2, rate=0.1)
    settle(evals=3, rate=0.1)  # as nothing was made yet
    write_jsonl(tmp_path / "explanations/bert_42.shap_mask.jsonl", [])
    settle(evals=2, rate=0.1)
    write_jsonl(tmp_path / "explanations/bert_42.shap.jsonl", [])
    settle(evals=2, rate=0.1)
    path = tmp_path / "settings/shap.json"
    assert read_json(path) == {"evals": 2, "rate": 0.1, "notes": {"checkpoint": "x"}}
    for other in ({"evals": 3, "rate": 0.1}, {"evals": 2}, {"evals": 2, "rate": 0.1, "k": 1}):
        stops(capsys, partial(settle, **other), "the shap of this run has ",
              f"delete in {tmp_path}: explanations/*.shap.jsonl")
    path.unlink()  # or written by an older kit, which had no settings
    stops(capsys, lambda: settle(evals=2, rate=0.1), "shap.json is missing", "delete")
    assert not path.is_file()


def test_other_settings_delete_what_was_measured_with_the_first(tmp_path):
    measured = tmp_path / "measures/contrast.bert_42.jsonl"
    write_jsonl(measured, [])
    for adjectives, kept in ((2, True), (2, True), (3, False)):
        pin_settings(tmp_path, "probes", {"adjectives": adjectives}, ["probes/*.shap.jsonl"])
        assert measured.is_file() == kept


def test_what_is_not_complete_is_left_out_and_said(tmp_path, capsys):
    subset = [{"id": "a", "text": "x", "label": 0}, {"id": "b", "text": "y", "label": 1}]
    write_json(tmp_path / "settings/shap.json", {"sentences": 2})
    for name in ("kd_aligned_42", "bert_43", "bert_42", "mine_42", "bert_44", "bert_45", "bert_x"):
        model_folder(tmp_path, name)
        write_jsonl(tmp_path / f"explanations/{name}.shap.jsonl", subset[::-1])
    write_jsonl(tmp_path / "explanations/bert_44.shap.jsonl", subset[:1])
    (tmp_path / "models/bert_45/model.safetensors").unlink()  # its explanations are left
    for other in ("._bert_42", "bert_seed43", "bert_42 (1)"):  # of a Mac, of somebody, a copy
        (tmp_path / f"explanations/{other}.shap.jsonl").write_bytes(b"\x00\x05\xb0\n")
    args = SimpleNamespace(artifacts=tmp_path, model=None, seed=42)
    assert explained_models(args, subset) == [
        ("bert", 42), ("kd_aligned", 42), ("mine", 42), ("bert", 43)]
    said = capsys.readouterr().out
    assert said.startswith("bert_44.shap is left out, it has 1 of 2 sentences")
    args.model, args.seed = "bert", 43
    assert explained_models(args, subset) == [("bert", 43)]
    args.model = "mine"
    stops(capsys, lambda: explained_models(args, subset), "of mine_43", "03_explain.py makes them")
    assert load_explanations(tmp_path, "bert", 42, "shap", subset) == subset
    assert load_explanations(tmp_path, "bert", 42, "lime", subset) == []


def model_folder(artifacts, name, **config):
    """What makes a folder of models/ complete."""
    write_json(artifacts / "models" / name / "config.json", config)
    (artifacts / "models" / name / "model.safetensors").write_bytes(b"")


def test_a_new_model_deletes_what_was_said_of_the_old_one(tiny, smoke, tmp_path):
    files = ("explanations/bert_4.shap.jsonl", "explanations/bert_42.shap.jsonl",
             "probes/bert_42.shap.jsonl", "probes/bert_4.shap.jsonl",
             "measures/words.bert_4.jsonl")

    def left():
        return [file for file in files if (tmp_path / file).is_file()]

    args = training_args(tmp_path, checkpoint=str(smoke / "random-bert"))
    for file in files:
        write_jsonl(tmp_path / file, [])
    save_classifier(*tiny, [], args)  # it was not measured
    assert left() == [file for file in files if "bert_4." in file]
    write_jsonl(tmp_path / "measures/direction.bert_42.jsonl", [])
    (tmp_path / "models/bert_42/config.json").unlink()  # an incomplete folder is made again
    save_classifier(*tiny, [], args)
    assert not (tmp_path / "measures").exists() and model_is_there(args)


def test_adding_deletes_nothing_and_making_again_deletes_all_measures(tmp_path):
    used = ["kd_tinybert_42.shap", "kd_tinybert_42.ig", "bert_42.shap"]
    for name, method, kept in (
            ("kd_tinybert_42", "lime", True), ("kd_soft_42", "shap", True),
            ("bert_43", "shap", True), ("bert_42", "ig", True), ("bert_42", "shap", False),
            ("kd_tinybert_42", "ig", False), ("kd_tinybert_42", "shap", False),
            ("distilbert_42", "shap", False)):  # which 05 alone has measured
        write_jsonl(tmp_path / "measures/models.kd_tinybert_42.jsonl", [{"explanations": used}])
        write_jsonl(tmp_path / "measures/words.distilbert_42.jsonl", [])
        delete_measures_of(tmp_path, name, method)
        assert (tmp_path / "measures").exists() == kept, (name, method)


def test_a_teacher_is_not_trained_while_its_students_are_there(smoke, tmp_path, capsys):
    args = training_args(tmp_path, checkpoint=str(smoke / "random-bert"))
    pin_training_settings(args, CPU)
    model_folder(tmp_path, "kd_42", teacher="bert_42")
    student = tmp_path / "models/kd_42"
    args.seed = 4
    assert not model_is_there(args)
    args.seed = 42
    stops(capsys, lambda: model_is_there(args), f"delete {student} to distil them again")
    model_folder(tmp_path, "bert_42")
    assert model_is_there(args)
    args.precision = "auto"  # which is fp32 here
    pin_training_settings(args, CPU)
    stops(capsys, lambda: pin_training_settings(args, torch.device("cuda")),
          "precision fp32, not fp16", "models/bert_42 models/kd_42")
    model_folder(tmp_path, "bert_2layer_42")  # no seed of a model called bert
    shutil.rmtree(tmp_path / "models/bert_42")
    pin_training_settings(args, torch.device("cuda"))


def test_of_two_trainings_at_once_the_second_is_not_saved_with_other_flags(tiny, smoke, tmp_path,
                                                                        capsys):
    first, second = (training_args(tmp_path, checkpoint=str(smoke / "random-bert"), seed=seed,
                                   epochs=epochs) for seed, epochs in ((42, 1), (43, 2)))
    pin_training_settings(first, CPU)
    pin_training_settings(second, CPU)  # begins before the first is saved
    save_classifier(*tiny, [], second)
    stops(capsys, lambda: save_classifier(*tiny, [], first), "has epochs 2, not 1")
    assert not (tmp_path / "models/bert_42").exists()


def test_a_torn_line_inside_an_explanation_is_named(tmp_path, capsys):
    path = tmp_path / "bert_42.shap.jsonl"
    path.write_text('{"id": "0"}\n{"id": "1", "ph\n{"id": "2"}\n')
    stops(capsys, lambda: explained_rows(path), str(path), "line 2 is not JSON")


def test_the_labels_are_the_papers():
    assert LABELS == ("very negative", "negative", "neutral", "positive", "very positive")
