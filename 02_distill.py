"""Section 3.5: distil a student from the soft logits of the fine-tuned teacher.

    L = alpha CE(z_s, y) + beta T^2 KL(p_t || p_s),  p = softmax(z / T),  alpha = beta = 0.5, T = 2

Future Work (Section 6) asks for "constraints on internal representations or token-level
attributions". With --perturbed and --hidden GAMMA the student also answers a perturbed copy x~ of
each sentence, with wordpieces deleted or replaced by [MASK], much as SHAP and LIME remove them, and
the loss has two more terms (A32), H being the distance of hidden states, hidden_distance():

    --perturbed --hidden GAMMA    + beta T^2 KL(p_t(x~) || p_s(x~)) + gamma H(x~)
    --perturbed                   + beta T^2 KL(p_t(x~) || p_s(x~))
    --hidden GAMMA                + gamma H(x)

Reads   the text (--data); models/<teacher>_<seed>/; a pretrained student (--checkpoint)
Writes  models/<model>_<seed>/ : weights, config, tokenizer, training_log.json, stamp.json

    python 02_distill.py --checkpoint huawei-noah/TinyBERT_General_6L_768D
    python 02_distill.py --checkpoint DIR --model kd_aligned --perturbed --hidden 3

With --model kd_soft --alpha 0 --beta 1 it distils from soft logits alone, as 3.2 has it (A6). The
paper's test accuracy: KD-TinyBERT 0.541 (Figure 4; 04 measures ours).
"""
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from common import (add_training_flags, already_made, autocast, check_tokens_like_other_models,
                    cli, encode, fit, load_classifier, load_encoder, load_splits, model_name,
                    model_stamp, pad, pick_device, pick_precision, predict_logits, run,
                    save_classifier, stop, training_stamp)


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
    [MASK]. [CLS], the first id, and [SEP], the last, stay. rng: a NumPy generator. Returns a list
    of ids."""
    draws, rate = rng.random(len(ids) - 2), rng.uniform(0, max_rate)
    removed = draws < rate
    if rng.random() < 0.5:
        inside = [piece for piece, gone in zip(ids[1:-1], removed) if not gone]
    else:
        inside = [mask_id if gone else piece for piece, gone in zip(ids[1:-1], removed)]
    return [ids[0], *inside, ids[-1]]


def hidden_distance(student_hidden, teacher_hidden, mask):
    """H: 1 - cos(h_s^k, h_t^g(k)), a mean over the tokens and over the student's layers k; g(k) is
    the teacher's layer at the same relative depth (layer 2k if it has twice as many). In the last
    layer only [CLS] counts, which the head reads, and which alone load_classifier computes. Hidden
    states: the embeddings, then each layer, (b, n, width); the teacher's last (b, 1, width). mask:
    (b, n), 1 for a token, 0 for padding."""
    layers, distances = len(student_hidden) - 1, []
    for k in range(1, layers + 1):
        g = k * (len(teacher_hidden) - 1) // layers
        tokens = slice(0, 1) if k == layers else slice(None)
        student, teacher = student_hidden[k][:, tokens], teacher_hidden[g][:, tokens]
        distance = 1 - F.cosine_similarity(student.float(), teacher.float(), dim=-1)
        distances.append((distance * mask[:, tokens]).sum() / mask[:, tokens].sum())
    return torch.stack(distances).mean()


def alignment_loss(student, hidden, ids, indices, epoch, *, teacher, tokenizer, args):
    """What --perturbed and --hidden add to the loss of a batch, as at the top of this file. hidden:
    the student's hidden states of the sentences; ids: their token ids; indices: their numbers in
    the training split, which with seed and epoch decide how each is perturbed."""
    perturbed, loss = args.perturbed is not None, 0.0
    if perturbed:
        rngs = [np.random.default_rng([args.seed, epoch, index]) for index in indices]
        ids = [perturbed_copy(x, tokenizer.mask_token_id, rng, args.perturbed)
               for x, rng in zip(ids, rngs)]
    batch = pad(tokenizer, ids, student.device)
    with autocast(student.device, pick_precision(args.precision, student.device)):
        with torch.no_grad():
            of_teacher = teacher(**batch, output_hidden_states=True)
        of_student = student(**batch, output_hidden_states=True) if perturbed else None
    if perturbed:
        kl = kl_divergence(of_student.logits.float(), of_teacher.logits.float(), args.temperature)
        loss, hidden = args.beta * args.temperature**2 * kl, of_student.hidden_states
    if args.hidden:
        distance = hidden_distance(hidden, of_teacher.hidden_states, batch["attention_mask"])
        loss = loss + args.hidden * distance
    return loss


def decoded(tokenizer, texts):
    """What the teacher reads, because 3.5 says so: "each student batch was decoded and
    re-tokenized". As all models have one vocabulary (A3), this changes nothing but that unknown
    words, as [UNK] is a special token, drop out. (Perturbed copies go to the teacher as ids.)"""
    return tokenizer.batch_decode(encode(tokenizer, texts), skip_special_tokens=True,
                                  clean_up_tokenization_spaces=False)


def check_alignment(teacher, student):
    """Stops unless the hidden states of the student can be compared with the teacher's."""
    ours, theirs = student.config, teacher.config
    if ours.hidden_size != theirs.hidden_size or theirs.num_hidden_layers % ours.num_hidden_layers:
        stop("--hidden compares layers of one width, at the same relative depth: the student has "
             f"{ours.num_hidden_layers} of {ours.hidden_size} numbers a token, the teacher "
             f"{theirs.num_hidden_layers} of {theirs.hidden_size}")


def parse_args(argv=None):
    parser = cli(__doc__, "--data", "--device", "--overwrite", "--seed")
    parser.add_argument("--model", type=model_name, default="kd_tinybert",
                        help="the student's name, without the seed")
    parser.add_argument("--teacher", type=model_name, default="bert",
                        help="a model that 01 trained")
    parser.add_argument("--alpha", type=float, default=0.5, help="weight of the gold labels")
    parser.add_argument("--beta", type=float, default=0.5, help="weight of the teacher")
    parser.add_argument("--temperature", type=float, default=2.0, help="T of the equation")
    parser.add_argument("--perturbed", type=float, nargs="?", const=1.0, metavar="RATE",
                        help="learn from a perturbed copy of each sentence too; a wordpiece is "
                        "removed with a probability of at most RATE (1 if not given; 0, a copy "
                        "that is the sentence, is the control for compute)")
    parser.add_argument("--hidden", type=float, default=0.0, metavar="GAMMA",
                        help="weight of the distance of hidden states to the teacher's, on the "
                        "copies or, without --perturbed, on the sentences")
    add_training_flags(parser)
    return parser.parse_args(argv)


def main(args):
    device = pick_device(args.device)
    splits = load_splits(args.data)
    folder = f"{args.artifacts}/models/{args.model}_{args.seed}"
    teacher_name = f"{args.teacher}_{args.seed}"
    teacher_weights = model_stamp(args.artifacts, teacher_name, splits)["weights"]
    stamp = training_stamp(args, splits, device, teacher=teacher_weights)
    if already_made(f"{folder}/stamp.json", stamp, args.overwrite):
        print(f"{folder} already exists, skipping")
        return

    teacher, teacher_tokenizer = load_classifier(args.artifacts, teacher_name, device)
    student, tokenizer = load_encoder(args.checkpoint, args.seed)
    check_tokens_like_other_models(args, tokenizer, [row["text"] for row in splits["test"]])
    if args.hidden:
        check_alignment(teacher, student)
    print(f"{folder}: {args.checkpoint}, {student.num_parameters() / 1e6:.1f} M parameters, "
          f"teacher {teacher_name}, {device}", flush=True)
    teacher_logits = {}  # 3.5: "the teacher kept frozen throughout", so they are computed once
    for split in ("train", "validation"):
        read = decoded(tokenizer, [row["text"] for row in splits[split]])
        logits = predict_logits(teacher, teacher_tokenizer, read)
        teacher_logits[split] = torch.tensor(logits, dtype=torch.float32, device=device)

    def loss(student_logits, labels, split, indices):
        return distillation_loss(student_logits, teacher_logits[split][indices], labels, args.alpha,
                                 args.beta, args.temperature)

    extra_loss = None
    if args.perturbed is not None or args.hidden:
        extra_loss = partial(alignment_loss, teacher=teacher, tokenizer=tokenizer, args=args)
    log = fit(student.to(device), tokenizer, splits, loss, args, extra_loss)
    save_classifier(student, tokenizer, log, args, stamp)


if __name__ == "__main__":
    run(main, parse_args())
