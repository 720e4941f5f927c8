"""Section 3.5: distil a student from the soft logits of the fine-tuned teacher.

    L = alpha CE(z_s, y) + beta T^2 KL(p_t || p_s),  p = softmax(z / T),  alpha = beta = 0.5, T = 2

Future Work (Section 6) asks for "constraints on internal representations or token-level
attributions". Two flags, each off by default, add a term to L (A32):

    --perturb-rate RATE     + beta T^2 KL(p_t || p_s) of a perturbed copy of each sentence, in which
                            wordpieces are deleted or replaced by [MASK], much as LIME and SHAP do
    --hidden-weight GAMMA   + gamma H, the distance of the student's hidden states from the
                            teacher's (hidden_distance), on the copies, or else on the sentences

Reads   the text (--data); models/<teacher>_<seed>/; a pretrained student (--checkpoint)
Writes  models/<model>_<seed>/ and settings/<model>.json, and deletes, as 01 does

    python 02_distill.py --checkpoint huawei-noah/TinyBERT_General_6L_768D
    python 02_distill.py --checkpoint DIR --model kd_aligned --perturb-rate 1 --hidden-weight 3

With --model kd_soft --alpha 0 --beta 1 it distils from soft logits alone, as 3.2 has it (A6). The
paper's test accuracy: KD-TinyBERT 0.541 (Section 4.1; 04 measures ours).
"""
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from common import (add_training_flags, autocast, cli, device_and_text, encode, fit,
                    load_classifier, load_encoder, model_is_there, model_name, number_from, pad,
                    pick_precision, pin_training_settings, predict_logits, run, save_classifier,
                    stop)


def kl_divergence(student_logits, teacher_logits, temperature):
    """KL(p_t || p_s) of the softened distributions, a mean over the batch. Both logits (b, 5)."""
    # batchmean: the default reduction would divide by the number of classes too
    return F.kl_div(F.log_softmax(student_logits / temperature, -1),
                    F.softmax(teacher_logits / temperature, -1), reduction="batchmean")


def distillation_loss(student_logits, teacher_logits, labels, alpha=0.5, beta=0.5, temperature=2.0):
    """The equation of 3.5, a mean over the batch. Both logits (b, 5), labels (b,)."""
    kl = kl_divergence(student_logits, teacher_logits, temperature)
    return alpha * F.cross_entropy(student_logits, labels) + beta * temperature**2 * kl


def perturbed_copy(ids, mask_id, rng, max_rate=1.0):
    """x~, a copy of one sentence. A rate r is drawn from (0, max_rate), and each wordpiece is
    removed with probability r; with max_rate = 1 every number of removed wordpieces is equally
    likely, as in Shapley's coalitions. With probability 1/2 they are deleted, else replaced by
    [MASK]. [CLS], the first id, and [SEP], the last, stay. rng: a NumPy generator."""
    draws, rate = rng.random(len(ids) - 2), rng.uniform(0, max_rate)
    removed = draws < rate
    if rng.random() < 0.5:
        inside = [piece for piece, gone in zip(ids[1:-1], removed) if not gone]
    else:
        inside = [mask_id if gone else piece for piece, gone in zip(ids[1:-1], removed)]
    return [ids[0], *inside, ids[-1]]


def hidden_distance(student_hidden, teacher_hidden, mask):
    """H: 1 - cosine of the student's hidden state of layer k and the teacher's of the layer at the
    same relative depth (2k if it has twice as many). A mean over the tokens, then over the
    student's layers; the embeddings do not count. In the last layer only [CLS] counts, for the
    head reads nothing else. Hidden states: of the embeddings, then of each layer, (b, n, width);
    mask: (b, n), 1 for a token, 0 for padding."""
    layers, distances = len(student_hidden) - 1, []
    for k in range(1, layers + 1):
        n = 1 if k == layers else mask.shape[1]
        student = student_hidden[k][:, :n].float()
        teacher = teacher_hidden[k * (len(teacher_hidden) - 1) // layers][:, :n].float()
        distance = 1 - F.cosine_similarity(student, teacher, dim=-1)
        distances.append((distance * mask[:, :n]).sum() / mask[:, :n].sum())
    return torch.stack(distances).mean()


def alignment_loss(student, student_hidden, ids, indices, epoch, *, teacher, tokenizer, args):
    """The terms that --perturb-rate and --hidden-weight add to the loss of a batch. student_hidden:
    the student's hidden states of the sentences; ids: their token ids; indices: their numbers in
    the training split, which with seed and epoch decide how each is perturbed. With copies both
    terms are of the copies, which both models read; else the teacher reads the sentences."""
    with_copies = args.perturb_rate is not None
    if with_copies:
        rngs = [np.random.default_rng([args.seed, epoch, index]) for index in indices]
        ids = [perturbed_copy(x, tokenizer.mask_token_id, rng, args.perturb_rate)
               for x, rng in zip(ids, rngs)]
    inputs, terms = pad(tokenizer, ids, student.device), []
    with autocast(student.device, pick_precision(args.precision, student.device)):
        with torch.no_grad():
            of_teacher = teacher(**inputs, output_hidden_states=True)
        if with_copies:
            of_student = student(**inputs, output_hidden_states=True)
    if with_copies:
        student_hidden = of_student.hidden_states
        kl = kl_divergence(of_student.logits.float(), of_teacher.logits.float(), args.temperature)
        terms.append(args.beta * args.temperature**2 * kl)
    if args.hidden_weight:
        distance = hidden_distance(student_hidden, of_teacher.hidden_states,
                                   inputs["attention_mask"])
        terms.append(args.hidden_weight * distance)
    return sum(terms)


def as_teacher_reads(tokenizer, texts):
    """3.5: "each student batch was decoded and re-tokenized for the teacher". All models here have
    one vocabulary (A3), so this changes nothing but unknown words: [UNK] is a special token, and
    the decoded sentence lacks it. (alignment_loss gives the teacher the ids of copies directly,
    because their [MASK] would be lost too.)"""
    return tokenizer.batch_decode(encode(tokenizer, texts), skip_special_tokens=True,
                                  clean_up_tokenization_spaces=False)


def check_student(teacher, teacher_tokenizer, student, tokenizer, texts, args):
    """Stops where teacher and student cut these texts into other wordpieces, by which models are
    compared (A3), or where --hidden-weight could not compare their layers."""
    if encode(teacher_tokenizer, texts) != encode(tokenizer, texts):
        stop(f"{args.checkpoint} and the teacher tokenize sentences differently, and models are "
             "compared token by token: take a student and a teacher of one vocabulary")
    ours, theirs = student.config, teacher.config
    if args.hidden_weight and (ours.hidden_size != theirs.hidden_size
                               or theirs.num_hidden_layers % ours.num_hidden_layers):
        stop("--hidden-weight compares layers of one width at the same relative depth: the student "
             f"has {ours.num_hidden_layers} layers of width {ours.hidden_size}, the teacher "
             f"{theirs.num_hidden_layers} of {theirs.hidden_size}")


def parse_args(argv=None):
    parser = cli(__doc__, "--data", "--device", "--seed")
    parser.add_argument("--model", type=model_name, default="kd_tinybert",
                        help="the student's name, without the seed")
    parser.add_argument("--teacher", type=model_name, default="bert",
                        help="a model that 01 trained with this seed")
    parser.add_argument("--alpha", type=number_from(0, 1e6), default=0.5,
                        help="weight of the gold labels")
    parser.add_argument("--beta", type=number_from(0, 1e6), default=0.5,
                        help="weight of the teacher")
    parser.add_argument("--temperature", type=number_from(1e-3, 1e6), default=2.0, help="T")
    parser.add_argument("--perturb-rate", type=number_from(0, 1), metavar="RATE",
                        help="learn from a perturbed copy of each sentence too; KD-aligned has 1; "
                        "0, a copy that is the sentence, is the control for compute")
    parser.add_argument("--hidden-weight", type=number_from(0, 1e6), default=0.0, metavar="GAMMA",
                        help="weight of the distance of hidden states; 3 is what KD-aligned has")
    add_training_flags(parser)
    return parser.parse_args(argv)


def main(args):
    device, splits = device_and_text(args)
    pin_training_settings(args, device)
    if model_is_there(args):
        return
    teacher_name = f"{args.teacher}_{args.seed}"
    teacher, teacher_tokenizer = load_classifier(args.artifacts, teacher_name, device)
    student, tokenizer = load_encoder(args.checkpoint, args.seed)
    check_student(teacher, teacher_tokenizer, student, tokenizer,
                  [row["text"] for row in splits["test"]], args)
    print(f"{args.model}_{args.seed}: {args.checkpoint}, {student.num_parameters() / 1e6:.1f} M "
          f"parameters, teacher {teacher_name}, {device}", flush=True)
    teacher_logits = {}  # 3.5: "the teacher kept frozen throughout", so they are computed once
    for split in ("train", "validation"):
        texts = as_teacher_reads(tokenizer, [row["text"] for row in splits[split]])
        logits = predict_logits(teacher, teacher_tokenizer, texts)
        teacher_logits[split] = torch.tensor(logits, dtype=torch.float32, device=device)

    def loss(student_logits, labels, split, indices):
        return distillation_loss(student_logits, teacher_logits[split][indices], labels, args.alpha,
                                 args.beta, args.temperature)

    extra_loss = None
    if args.perturb_rate is not None or args.hidden_weight:
        extra_loss = partial(alignment_loss, teacher=teacher, tokenizer=tokenizer, args=args)
    log = fit(student.to(device), tokenizer, splits, loss, args, extra_loss)
    student.config.teacher = teacher_name  # for model_is_there(), which keeps teachers
    save_classifier(student, tokenizer, log, args)


if __name__ == "__main__":
    run(main, parse_args())
