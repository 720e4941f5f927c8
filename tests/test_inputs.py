"""Other people's text, checkpoints and settings: the right value, or one line and exit status 2."""
import io
import json
import os
import re
import shutil
import subprocess
import sys
from itertools import product

import common
import numpy as np
import pytest
import tokenizers
import torch
import transformers
from common import (LABELS, check_encoder, cli, cut_to_model_length, encode, explain_shap,
                    load_classifier, load_encoder, load_splits, mean_embedding, predict_proba,
                    progress, read_json, run, save_classifier, token_ids, token_spans)
from conftest import ROOT
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from test_common import CPU, training_args
from tokenizers import models, pre_tokenizers, processors, trainers


def one_line(status, err, *words):
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1, err
    assert all(word in err for word in words), err


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def checkpoint(smoke, tmp_path):
    """A copy of the random BERT that a test can spoil."""
    return shutil.copytree(smoke / "random-bert", tmp_path / "checkpoint")


@pytest.fixture
def text(tmp_path):
    """A folder of text; text(test=[...]) replaces a split's lines, given as objects or as bytes."""
    folder = tmp_path / "text"
    folder.mkdir()
    good = [{"text": f"a film {label}", "label": label} for label in range(5)]

    def _text(**lines):
        for split in ("train", "dev", "test"):
            content = lines.get(split, good)
            if isinstance(content, list):
                content = "".join(json.dumps(row) + "\n" for row in content).encode()
            (folder / f"{split}.jsonl").write_bytes(content)
        return str(folder)
    return _text


# --- Text

@pytest.mark.parametrize("text", ["[MASK]", "good [MASK]", "[SEP]", "a [PAD] film", "[CLS] dull"])
def test_special_tokens_in_a_text_are_text(tiny, text):
    model, tokenizer = tiny
    assert not set(tokenizer.all_special_ids) - {tokenizer.unk_token_id} & set(
        encode(tokenizer, [text])[0][1:-1])
    reference = mean_embedding(model, tokenizer, [{"text": "a superb film"}])
    row = explain_shap(model, tokenizer, text, reference)
    total = row["base_values"] + row["attributions"].sum(0) + row["special_attributions"].sum(0)
    assert total == pytest.approx(predict_proba(*tiny, [text])[0], abs=1e-6)


def test_texts_with_the_same_wordpieces_have_one_explanation(tiny):
    rows = [explain_shap(*tiny, text) for text in ("[SEP] good", "[SEP]good", "[SEP]  good")]
    for row in rows[1:]:
        assert row["attributions"] == pytest.approx(rows[0]["attributions"], abs=1e-12)


def test_random_unicode_is_explained(scripts, tiny):
    """Sums, spans and LIME's words, of 200 strings of all scripts, with and without wordpieces."""
    (model, tokenizer), rng = tiny, np.random.default_rng(0)
    alphabets = ("abc ", "film dull ", "éßÑ ", "中文字", "אבג", "😀👍🏽", "\u200b\u00a0\t\n ",
                 "#[]'\".,", "\u0301\u0308e", "١٢٣")
    reference = mean_embedding(model, tokenizer, [{"text": "a superb film"}])
    for _ in range(200):
        characters = "".join(rng.choice(alphabets, 2))
        string = "".join(rng.choice(list(characters), rng.integers(1, 9)))
        row = explain_shap(model, tokenizer, string, reference, max_evals=20)  # checks the sum
        assert len(row["tokens"]) == len(row["spans"]) == len(row["attributions"])
        for (start, end), token in zip(row["spans"], row["tokens"]):
            assert 0 <= start <= end <= len(string)
            assert token == "[UNK]" or start < end
        ends = [end for _, end in row["spans"]]
        assert ends == sorted(ends)
        lime = scripts["03"].explain_lime(model, tokenizer, string, 1, num_samples=20)
        for word, places in zip(lime["words"], lime["spans"]):
            assert places and all(string[start:end] == word for start, end in places)


def test_a_text_without_a_wordpiece_is_explained_by_nothing(scripts, tiny):
    row = explain_shap(*tiny, "\u200b")
    assert row["tokens"] == [] and np.shape(row["attributions"]) == (0, 5)
    assert row["base_values"] == pytest.approx(predict_proba(*tiny, ["\u200b"])[0])


def test_a_long_text_is_explained_as_far_as_it_is_read(scripts, tiny):
    model, tokenizer = tiny
    for word in ("film ", "quibbling "):  # of one wordpiece, of several
        text = "a " + word * 400
        read, ids = cut_to_model_length(tokenizer, text), token_ids(tokenizer, text)
        n = len(token_ids(tokenizer, read))
        assert text.startswith(read) and token_ids(tokenizer, read) == ids[:n] and 245 < n <= 254
        assert cut_to_model_length(tokenizer, read) == read
    assert predict_proba(model, tokenizer, ["a film " * 127]) == pytest.approx(
        predict_proba(model, tokenizer, ["a film " * 400]))
    row = scripts["03"].explain_ig(model, tokenizer, read, torch.zeros(32), steps=2)
    assert len(row["tokens"]) == len(row["attributions"]) == n


def test_a_wordpiece_of_two_words_counts_for_one(scripts):
    text = "cafe\u0301s film"  # the accent is no letter: \w+ finds cafe, s, film
    found = scripts["04"].positions_of_words(text, [[0, 6], [7, 11]])
    assert found == {"cafe": [0], "s": [], "film": [1]}


def test_text_in_other_forms_is_the_same_text(text):
    rows = b'{"text": "caf\xc3\xa9 %d", "label": %d}\n'
    plain = b"".join(rows % (i, i) for i in range(5))
    expected = load_splits(text(test=plain))["test"]
    assert expected[0]["text"] == "café 0"
    for other in (b"\xef\xbb\xbf" + plain, plain.replace(b"\n", b"\r\n"), plain + b"\n",
                  plain.replace(b"\n", b"\n\n")):
        assert load_splits(text(test=other))["test"] == expected


CLASSES = [{"text": "a", "label": label} for label in range(5)]


def test_the_names_of_labels_may_be_others_or_ours(text):
    for names in (LABELS, "ABCDE", [None] * 5):
        rows = [row | {"label_text": name} for row, name in zip(CLASSES, names)]
        assert len(load_splits(text(test=rows))["test"]) == 5


@pytest.mark.parametrize("lines, says", [
    ([{"text": "a", "label": 5}], "test-0 has the label 5"),
    ([{"text": "a", "label": 3.0}], "test-0 has the label 3.0"),
    ([{"text": "a", "label": True}], "test-0 has the label True"),
    ([{"text": " ", "label": 0}], "test-0 has the text ' '"),
    ([{"text": None, "label": 0}], "test-0 has the text None"),
    ([{"text": 2012, "label": 0}], "test-0 has the text 2012"),
    ([{"text": "a", "label": 0, "label_text": "negative"}], "test-0 says 'negative', but its "),
    ([{"text": "\ud83d", "label": 0}], "half of a surrogate pair"),
    ([{"sentence": "a", "label": 0}], "its columns are sentence, label"),
    ([], "none of the 0 sentences of test has the label 0"),
    (CLASSES[:3], "none of the 3 sentences of test has the label 3"),
    ([row | {"label": row["label"] + 1} for row in CLASSES], "test-4 has the label 5"),
    (json.dumps(CLASSES).encode(), "line 1 is no JSON object"),
    (b"3\n", "line 1 is no JSON object"),
    (b'{"text": \n', "line 1 is not JSON"),
    (b'{"text": "caf\xe9", "label": 0}', "line 1 is not JSON in UTF-8"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "line 1 is not JSON")])
def test_text_that_cannot_be_used_is_named_in_one_line(text, capsys, lines, says):
    with pytest.raises(SystemExit) as stopped:
        load_splits(text(test=lines))
    one_line(stopped.value.code, capsys.readouterr().err, says)


@pytest.mark.parametrize("data", ["/x/text", "./text", "~/text", "reviews.csv", "train.jsonl",
                                  '"/x/text"', "a/b/c", __file__, r"C:\Users\me\sst5"])
def test_what_looks_like_a_path_is_no_repository_of_the_hub(capsys, data):
    with pytest.raises(SystemExit) as stopped:
        load_splits(data)
    one_line(stopped.value.code, capsys.readouterr().err, data.removeprefix("./"),
             "--data takes a folder")


def test_too_few_sentences_of_a_class_are_found_before_training(text, call, tmp_path):
    status, _, err = call("03", "--data", text(), "--artifacts", tmp_path / "out")
    one_line(status, err, "fewer than 30 sentences", "PER_CLASS=1")
    status, out, _ = call("03", "--data", text(), "--artifacts", tmp_path / "out", "--per-class", 1)
    assert status == 0 and "5 sentences, 1 of each class" in out


# --- Checkpoints

def loads(checkpoint):
    with pytest.raises(SystemExit) as stopped:
        load_encoder(str(checkpoint), 1)
    return stopped.value.code


@pytest.mark.parametrize("spoil, says", [
    (lambda folder: (folder / "model.safetensors").unlink(), "no file named"),
    (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
    (lambda folder: (folder / "model.safetensors").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\n"), "Git-LFS pointer")])
def test_what_a_checkpoint_lacks_is_named(checkpoint, capsys, spoil, says):
    spoil(checkpoint)
    one_line(loads(checkpoint), capsys.readouterr().err, says)


def test_other_checkpoints_that_are_refused(checkpoint, tmp_path, capsys):
    one_line(loads("~/bert"), capsys.readouterr().err, "~/bert is not a folder")
    (tmp_path / "models--bert" / "snapshots").mkdir(parents=True)
    one_line(loads(tmp_path / "models--bert"), capsys.readouterr().err, "config.json is missing")
    edit_json(checkpoint / "tokenizer_config.json", additional_special_tokens=["[extra]"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    tokenizer.add_tokens(["film-noir"])
    tokenizer.save_pretrained(checkpoint)
    one_line(loads(checkpoint), capsys.readouterr().err, "vocabulary of", "embeddings for")


@pytest.mark.parametrize("labels", [2, 5])
def test_a_checkpoint_with_a_head_of_its_own_is_refused(checkpoint, capsys, labels):
    model = transformers.BertForSequenceClassification.from_pretrained(checkpoint,
                                                                       num_labels=labels)
    model.save_pretrained(checkpoint)
    one_line(loads(checkpoint), capsys.readouterr().err, "has a classification head already")


def test_a_missing_encoder_weight_is_named_and_a_missing_pooler_is_new(checkpoint, capsys):
    weights = load_file(checkpoint / "model.safetensors")
    weights = {key: value for key, value in weights.items() if "pooler" not in key}
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    models = [load_encoder(str(checkpoint), seed)[0] for seed in (1, 1, 2)]
    for layer in ("classifier", "bert.pooler.dense"):
        first, same, other = [model.get_submodule(layer).weight for model in models]
        assert torch.equal(first, same) and not torch.equal(first, other)
    weights.pop("bert.encoder.layer.0.output.dense.weight")
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    one_line(loads(checkpoint), capsys.readouterr().err, "lacks 1 weights of its encoder",
             "bert.encoder.layer.0.output.dense.weight")


@pytest.mark.parametrize("said", [True, False])
def test_a_cased_checkpoint_keeps_capitals_and_accents(smoke, tmp_path, said):
    folder = shutil.copytree(smoke / "random-tinybert", tmp_path / "cased")
    pieces = (folder / "vocab.txt").read_text().splitlines()
    pieces[-3:] = ["Film", "F", "é"]
    (folder / "vocab.txt").write_text("".join(piece + "\n" for piece in pieces), encoding="utf-8")
    if said:
        (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    _, tokenizer = load_encoder(str(folder), 1)
    assert tokenizer.tokenize("Film film é") == ["Film", "film", "é"]
    assert load_encoder(str(smoke / "random-tinybert"), 1)[1].tokenize("FILM") == ["film"]


@pytest.mark.parametrize("fields", [
    {"num_labels": 2}, {"return_dict": False}, {"output_attentions": True}, {"is_decoder": True},
    {"output_hidden_states": True, "torchscript": True, "chunk_size_feed_forward": 2}])
def test_how_a_checkpoint_was_run_changes_nothing(checkpoint, tmp_path, fields):
    def saved():
        save_classifier(*load_encoder(str(checkpoint), 1), [], training_args(tmp_path))
        model, tokenizer = load_classifier(tmp_path, "bert_42", CPU)
        check_encoder(model, tokenizer, encode(tokenizer, ["good", "a good film"]))
        shutil.rmtree(tmp_path / "models")
        return predict_proba(model, tokenizer, ["a good film", "dull"])

    expected = saved()
    edit_json(checkpoint / "config.json", **fields)
    edit_json(checkpoint / "tokenizer_config.json", padding_side="left",
              model_input_names=["input_ids"])
    assert np.array_equal(saved(), expected)


def test_the_head_of_a_masked_language_model_is_none_of_a_classifier(tmp_path, capsys):
    config = transformers.AutoConfig.for_model("modernbert", **SIZE, **MORE["modernbert"])
    made_tokenizer("unigram").save_pretrained(tmp_path)
    transformers.ModernBertForMaskedLM(config).save_pretrained(tmp_path)
    model, _ = load_encoder(str(tmp_path), 1)
    weights = load_file(tmp_path / "model.safetensors")
    assert torch.equal(model.head.dense.weight, weights["head.dense.weight"])
    transformers.ModernBertForSequenceClassification(config).save_pretrained(tmp_path)
    one_line(loads(tmp_path), capsys.readouterr().err, "has a classification head already")


# --- Tokenizers

def made_tokenizer(kind, space_in_span=False, space_first=False):
    """A tokenizer of another kind than BERT's, trained on a few sentences. space_in_span: an offset
    begins at the space before a word; space_first: a space is put before the first word."""
    corpus = ["the movie was weak but the ending was superb .", "a good film"] * 5
    special = {"special_tokens": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]}
    made = tokenizers.Tokenizer({"bpe": models.BPE(unk_token="[UNK]"), "bytes": models.BPE(),
                                 "unigram": models.Unigram()}[kind])
    trainer = trainers.BpeTrainer(vocab_size=390, show_progress=False, **special)
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if kind == "bytes":
        trainer.initial_alphabet = pre_tokenizers.ByteLevel.alphabet()
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space_first)
    elif kind == "unigram":
        trainer = trainers.UnigramTrainer(unk_token="[UNK]", show_progress=False, **special)
        made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.train_from_iterator(corpus, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    if kind == "bytes" and not space_in_span:
        made.post_processor = processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2), True,
                                                           space_first)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]")


@pytest.fixture
def with_tokenizer(tmp_path):
    """with_tokenizer(tokenizer) -> the folder of a random BERT that has it."""
    def _with_tokenizer(tokenizer):
        config = transformers.BertConfig(**SIZE)
        transformers.BertModel(config).save_pretrained(tmp_path / "checkpoint")
        tokenizer.save_pretrained(tmp_path / "checkpoint")
        return tmp_path / "checkpoint"
    return _with_tokenizer


@pytest.mark.parametrize("kind", [
    ("bpe",), ("unigram",), *(("bytes", *flags) for flags in product((True, False), repeat=2))])
def test_words_have_their_pieces_for_every_tokenizer(scripts, with_tokenizer, kind):
    model, tokenizer = load_encoder(str(with_tokenizer(made_tokenizer(*kind))), 1)
    model.eval()
    for text in ("The movie was weak but the ending was superb.", " café  films \n"):
        words = re.findall(r"\w+", text.lower())
        p = predict_proba(model, tokenizer, [text])[0]
        row = {"text": text, "predicted": p.argmax()}
        reference = mean_embedding(model, tokenizer, [row])
        shap = row | explain_shap(model, tokenizer, text, reference)  # checks the sum
        ig = row | scripts["03"].explain_ig(model, tokenizer, text, reference, steps=2)
        lime = row | scripts["03"].explain_lime(model, tokenizer, text, 1, num_samples=50)
        assert shap["spans"] == ig["spans"]
        of_words = [w for w in scripts["05"].token_words(shap) if w]
        assert list(dict.fromkeys(of_words)) == list(dict.fromkeys(words))  # in this order
        assert scripts["04"].word_scores(shap).abs().min() > 0
        left = scripts["04"].changed_inputs(tokenizer, lime, len(words))["top"]
        assert not re.search("[a-z]", tokenizer.decode(left).replace("[UNK]", ""))
        plain = re.sub("<sub>.*?</sub>|<.*?>", "", scripts["06"].marked(shap))
        assert plain == text  # each character once
        every = scripts["05"].credit_of(shap, set(words))
        assert every["share"] > 0.5 and every["token_share"] > 0.5
        if "but" in words:
            phi = np.array([word in ("weak", "superb", "but") for word in of_words] + [0])
            assert scripts["05"].post_but_ratio(shap, phi) == (
                of_words.count("superb") / (of_words.count("superb") + of_words.count("weak")))


def test_tokenizers_that_cannot_be_explained_are_refused(with_tokenizer, capsys):
    without = made_tokenizer("bpe")
    without.mask_token = None
    alone, joined = made_tokenizer("bpe"), made_tokenizer("bpe")
    alone.backend_tokenizer.post_processor = processors.ByteLevel()  # puts nothing around
    joined.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split("x", "removed")
    joined.backend_tokenizer.model = models.WordLevel(joined.get_vocab(), unk_token="[UNK]")
    for tokenizer in (without, alone, joined):
        one_line(loads(with_tokenizer(tokenizer)), capsys.readouterr().err, "has to be a fast one",
                 "ELECTRA")
    folder = with_tokenizer(alone)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("good 1\n")
    (folder / "bpe.codes").write_text("g o 1\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertweetTokenizer"}')
    one_line(loads(folder), capsys.readouterr().err, "has to be a fast one")


def test_text_of_another_language_is_refused(tiny, capsys):
    model, tokenizer = tiny
    texts = ["a good film"] * 9
    check_encoder(model, tokenizer, encode(tokenizer, [*texts, "影"]))
    with pytest.raises(SystemExit) as stopped:
        check_encoder(model, tokenizer, encode(tokenizer, [*texts, "这部电影很好看"]))
    one_line(stopped.value.code, capsys.readouterr().err, "of the text's wordpieces are unknown")


def test_a_model_that_reads_its_padding_is_refused(tiny, capsys):
    model, tokenizer = tiny
    plain = model.forward

    def forward(attention_mask=None, **inputs):  # as FNet does
        return plain(attention_mask=torch.ones_like(attention_mask), **inputs)

    ids = encode(tokenizer, ["good", "a good film , really , and more of it"])
    check_encoder(model, tokenizer, ids)
    model.forward = forward
    with pytest.raises(SystemExit) as stopped:
        check_encoder(model, tokenizer, ids)
    one_line(stopped.value.code, capsys.readouterr().err, "other logits alone than in a batch")


def test_a_student_of_another_vocabulary_is_refused_before_training(smoke, tmp_path, call):
    folder = shutil.copytree(smoke / "random-tinybert", tmp_path / "other")
    pieces = (folder / "vocab.txt").read_text().replace("\nfilm\n", "\nflim\n")
    (folder / "vocab.txt").write_text(pieces)
    model, tokenizer = load_encoder(str(smoke / "random-bert"), 1)
    data, out = ("--data", smoke / "text"), ("--artifacts", tmp_path / "out")
    call("03", *data, *out, "--per-class", "1")
    save_classifier(model, tokenizer, [], training_args(tmp_path / "out"))
    status, _, err = call("02", "--checkpoint", folder, *data, *out)
    one_line(status, err, "tokenize sentences differently", "one vocabulary")


SIZE = {"vocab_size": 400, "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2,
        "intermediate_size": 64, "max_position_embeddings": 130}
MORE = {"albert": {"embedding_size": 16}, "electra": {"embedding_size": 16},
        "mobilebert": {"embedding_size": 16, "intra_bottleneck_size": 16},
        "modernbert": {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3,
                       "global_attn_every_n_layers": 1}}


@pytest.mark.parametrize("name", ["albert", "modernbert", "mobilebert", "electra", "roberta"])
def test_other_encoders_are_saved_loaded_and_explained(scripts, smoke, tmp_path, name):
    """Saving changes no prediction, and the explanations add up."""
    config = transformers.AutoConfig.for_model(name, **SIZE, **MORE.get(name, {}))
    folder = tmp_path / name
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    for path in (smoke / "random-bert").glob("*token*"):
        shutil.copy(path, folder)
    shutil.copy(smoke / "random-tinybert" / "vocab.txt", folder)
    model, tokenizer = load_encoder(str(folder), 1)
    texts = ["a superb film !", "dull"]
    expected = predict_proba(model.eval(), tokenizer, texts)
    save_classifier(model, tokenizer, [], training_args(tmp_path))
    loaded, tokenizer = load_classifier(tmp_path, "bert_42", CPU)
    assert predict_proba(loaded, tokenizer, texts) == pytest.approx(expected, abs=1e-6)
    reference = mean_embedding(loaded, tokenizer, [{"text": texts[0]}])
    explain_shap(loaded, tokenizer, texts[0], reference)  # checks the sum
    row = scripts["03"].explain_ig(loaded, tokenizer, texts[0], reference)
    assert np.shape(row["attributions"]) == (len(token_spans(tokenizer, texts[0])[0]), 5)


# --- Folders, settings and terminals

def test_a_file_in_the_place_of_the_artifacts_is_found_before_training(smoke, tmp_path):
    (tmp_path / "artifacts").write_text("")
    done = subprocess.run(
        [sys.executable, "01_train.py", "--model", "bert", "--checkpoint", smoke / "random-bert",
         "--data", smoke / "text", "--artifacts", tmp_path / "artifacts"], cwd=ROOT,
        capture_output=True, text=True)
    one_line(done.returncode, done.stderr, str(tmp_path / "artifacts"))
    assert "epoch" not in done.stdout


@pytest.mark.parametrize("flag", ["--temperature=0", "--temperature=-2", "--alpha=nan", "--beta=x",
                                  "--learning-rate=-1", "--hidden-weight=-1", "--perturb-rate=1.5",
                                  "--epochs=0.5", "--seed=-1", "--seed=0",
                                  "--seed=1.5", f"--seed={2**32}"])
def test_a_number_out_of_range_is_refused_at_once(call, flag):
    status, _, err = call("02", "--checkpoint", "x", flag)
    one_line(status, err, flag.partition("=")[0], "--help shows the flags")


@pytest.mark.parametrize("error, of_a_disk", [
    (SafetensorError("I/O error: No space left on device (os error 28)"), True),
    (SafetensorError("Error while deserializing header: HeaderTooLarge"), False),
    (PermissionError(13, "Permission denied"), True), (OSError(30, "Read-only file system"), True),
    (FileNotFoundError(2, "No such file or directory"), False)])
def test_only_what_a_disk_refuses_is_blamed_on_it(capsys, error, of_a_disk):
    def main(args):
        raise error

    with pytest.raises(SystemExit) as stopped:
        run(main, None)
    err = capsys.readouterr().err
    one_line(stopped.value.code, err, str(error), "What is finished is kept")
    assert ("--artifacts DIR" in err) == of_a_disk


def test_an_output_that_is_read_no_further_ends_a_stage_in_one_line():
    done = subprocess.run(["bash", "-c", f"{sys.executable} -c 'import common; "
                           "common.run(print, 1)' | true; exit ${PIPESTATUS[0]}"], cwd=ROOT,
                          env=os.environ | {"PYTHONUNBUFFERED": ""}, capture_output=True, text=True)
    one_line(done.returncode, done.stderr, "nobody reads the output")


def test_a_model_that_was_finished_elsewhere_is_taken(tiny, tmp_path, capsys):
    save_classifier(*tiny, [], training_args(tmp_path))
    (tmp_path / "explanations").mkdir()
    (tmp_path / "explanations/bert_42.shap.jsonl").write_text("")
    save_classifier(*tiny, [{"epoch": 1}], training_args(tmp_path))
    assert "finished elsewhere" in capsys.readouterr().out
    assert (tmp_path / "explanations/bert_42.shap.jsonl").is_file()
    assert read_json(tmp_path / "models/bert_42/training_log.json") == []


def test_what_a_notebook_exports_and_its_streams_do_no_harm(monkeypatch):
    done = subprocess.run(
        [sys.executable, "-c", "import common, importlib; importlib.import_module('06_figures')"],
        cwd=ROOT, env=os.environ | {"MPLBACKEND": "module://no_such_backend"}, capture_output=True)
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("LOCAL_RANK", "")
    assert list(progress("ab", "x", "letter")) == ["a", "b"]
    for stream in (io.StringIO(), None):  # of a kernel; closed
        monkeypatch.setattr(sys, "stdout", stream)
        assert cli("x").parse_args([]).artifacts == "artifacts"


def test_a_terminal_without_utf_8_shows_what_it_can():
    done = subprocess.run([sys.executable, "-c", "import common, importlib; "
                           "common.cli('x'); print('😀 “but”')"], cwd=ROOT, capture_output=True,
                          env=os.environ | {"PYTHONIOENCODING": "ascii"}, check=True)
    assert done.stdout == b"? ?but?\n"


@pytest.mark.parametrize("settings, says", [
    ({"SEEDS": "08"}, "SEEDS is '08'"), ({"SEEDS": "42 42"}, "may stand there once"),
    ({"SEEDS": "-1"}, "SEEDS is '-1'"), ({"PER_CLASS": "0"}, "PER_CLASS is '0'"),
    ({"JOBS": "4(x2)"}, "JOBS is '4(x2)'"), ({"EXTRA": "kd_twice kd_twice"}, "stand there once"),
    ({"SUBSET_SEED": "1 2"}, "SUBSET_SEED is '1 2'"), ({"ARTIFACTS": "~nobody/a"}, "in full"),
    ({"EXTRA": "kd_hard"}, "EXTRA has 'kd_hard'"), ({"LIME": "0"}, "LIME is '0'"),
    ({"EXTRA": "kd_4layer"}, "smoke takes kd_soft kd_twice kd_perturbed kd_hidden kd_1layer")])
def test_settings_are_checked_first(settings, says):
    done = subprocess.run(["bash", "run_all.sh", "smoke"], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | settings)
    one_line(done.returncode, done.stderr, says)


@pytest.mark.parametrize("command", [["bash", "gpu"], ["bash", "smoke", "DATA=x"], ["sh", "gpu"]])
def test_words_that_are_no_preset_are_refused(command):
    shell, *words = command
    done = subprocess.run([shell, "run_all.sh", *words], cwd=ROOT, capture_output=True, text=True)
    one_line(done.returncode, done.stderr, words[-1])


def test_the_kits_own_commit_is_named(tmp_path, monkeypatch):
    def git(folder, *command):
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x", *command], cwd=folder,
                       check=True, capture_output=True)

    kit = tmp_path / "outer" / "kit"
    kit.mkdir(parents=True)
    monkeypatch.setattr(common, "__file__", str(kit / "common.py"))
    git(kit.parent, "init", "-q")
    git(kit.parent, "commit", "-q", "--allow-empty", "-m", "x")
    assert common.kit_commit() == "unknown"  # it lies inside another repository
    git(kit, "init", "-q")
    git(kit, "commit", "-q", "--allow-empty", "-m", "y")
    own = common.kit_commit()
    monkeypatch.setenv("GIT_DIR", str(kit.parent / ".git"))  # of a git hook
    assert len(own) >= 7 and common.kit_commit() == own
