"""Section 3.5: distil a student from the soft logits of the fine-tuned teacher.

    L = alpha CE(z_s, y) + beta T^2 KL(p_t || p_s),  p = softmax(z / T),  alpha = beta = 0.5, T = 2

Reads   the text (--data); models/<teacher>_<seed>/; a pretrained student (--checkpoint)
Writes  models/<model>_<seed>/ : weights, config, tokenizer, training_log.json, stamp.json

    python 02_distill.py --checkpoint huawei-noah/TinyBERT_General_6L_768D

With --model kd_soft --alpha 0 --beta 1 it distils from soft logits alone, as 3.2 has it (A6). The
paper's test accuracy: KD-TinyBERT 0.541 (Figure 4; 04 measures ours).
"""
import torch
import torch.nn.functional as F

from common import (SEED, add_training_flags, already_made, cli, digest, encode, family, fit,
                    load_classifier, load_encoder, load_splits, make_stamp, pick_device,
                    predict_logits, run, save_classifier, training_arguments, weights_digest)


def distillation_loss(student_logits, teacher_logits, labels, alpha=0.5, beta=0.5, temperature=2.0):
    """The equation of 3.5, a mean over the batch. Both logits (b, 5), labels (b,)."""
    cross_entropy = F.cross_entropy(student_logits, labels)
    # batchmean: the default reduction would divide by the number of classes too
    kl = F.kl_div(F.log_softmax(student_logits / temperature, -1),
                  F.softmax(teacher_logits / temperature, -1), reduction="batchmean")
    return alpha * cross_entropy + beta * temperature**2 * kl


def decoded(tokenizer, texts):
    """What the teacher reads: "each student batch was decoded and re-tokenized" (3.5). Unknown
    words drop out with the special tokens."""
    return tokenizer.batch_decode(encode(tokenizer, texts), skip_special_tokens=True,
                                  clean_up_tokenization_spaces=False)


def parse_args(argv=None):
    parser = cli(__doc__, data=True, device=True, overwrite=True)
    parser.add_argument("--model", type=family, default="kd_tinybert", help="the student's name")
    parser.add_argument("--teacher", type=family, default="bert", help="a model that 01 trained")
    parser.add_argument("--seed", type=int, default=SEED, help="of the student and of its teacher")
    parser.add_argument("--alpha", type=float, default=0.5, help="weight of the gold labels")
    parser.add_argument("--beta", type=float, default=0.5, help="weight of the teacher")
    parser.add_argument("--temperature", type=float, default=2.0, help="T of the equation")
    add_training_flags(parser)
    return parser.parse_args(argv)


def main():
    args = parse_args()
    device = pick_device(args.device)
    splits = load_splits(args.data)
    folder = f"{args.artifacts}/models/{args.model}_{args.seed}"
    teacher_name = f"{args.teacher}_{args.seed}"
    teacher_weights = weights_digest(args.artifacts, teacher_name, splits)
    inputs = {"text": digest(splits), "teacher": teacher_weights}
    stamp = make_stamp(training_arguments(args), inputs, device)
    if already_made(f"{folder}/stamp.json", stamp, args.overwrite):
        print(f"{folder} already exists, skipping")
        return args

    teacher, teacher_tokenizer = load_classifier(args.artifacts, teacher_name, device)
    student, tokenizer = load_encoder(args.checkpoint, args.seed, args.keep_layers)
    print(f"{folder}: {args.checkpoint}, {student.num_parameters() / 1e6:.1f} M parameters, "
          f"teacher {teacher_name}, {device}", flush=True)
    teacher_logits = {}  # 3.5: "the teacher kept frozen throughout", so they are computed once
    for split in ("train", "validation"):
        texts = [row["text"] for row in splits[split]]
        decoded_texts = decoded(tokenizer, texts)
        original_ids = encode(teacher_tokenizer, texts)
        decoded_ids = encode(teacher_tokenizer, decoded_texts)
        changed = sum(a != b for a, b in zip(original_ids, decoded_ids))
        print(f"{changed} of {len(texts)} {split} sentences change by being decoded and tokenized "
              "again", flush=True)
        logits = predict_logits(teacher, teacher_tokenizer, decoded_texts)
        teacher_logits[split] = torch.tensor(logits, dtype=torch.float32, device=device)

    def loss(student_logits, labels, split, rows):
        return distillation_loss(student_logits, teacher_logits[split][rows], labels, args.alpha,
                                 args.beta, args.temperature)

    log = fit(student.to(device), tokenizer, splits, loss, args)
    save_classifier(student, tokenizer, log, args, stamp)
    return args


if __name__ == "__main__":
    run(main)
