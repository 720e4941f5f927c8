"""Section 3.5: distil a student from the fine-tuned teacher's soft logits.

    L = alpha CE(z_s, y) + beta T^2 KL(p_t || p_s),   p = softmax(z / T),   alpha = beta = 0.5, T = 2

Reads   the text (--data); models/<teacher>/ ; a pretrained student (--checkpoint)
Writes  models/<name>/ : weights, config with id2label, tokenizer, training_log.json, stamp.json

    python 02_distill.py
    python 02_distill.py --name kd_soft --alpha 0 --beta 1      (soft logits only: 3.2 says so, the equation does not; A6)

About 3 minutes on a T4 (an estimate, not measured). The paper's test accuracy: KD-TinyBERT 0.541 (Figure 4; 04 measures ours).
"""
import numpy as np
import torch
import torch.nn.functional as F

from common import (add_training_flags, already_made, claim, cli, digest, encode, fit, load_classifier, load_encoder, load_splits,
                    make_stamp, model_name, pick_device, predict_proba, run, save_classifier, training_precision, weights_of)


def distillation_loss(student_logits, teacher_logits, labels, alpha=0.5, beta=0.5, temperature=2.0):
    """The equation of 3.5: a mean over the batch, in fp32. Both logits (b, 5), labels (b,)."""
    cross_entropy = F.cross_entropy(student_logits, labels)
    kl = F.kl_div(F.log_softmax(student_logits / temperature, -1), F.softmax(teacher_logits / temperature, -1),
                  reduction="batchmean")  # "mean" would divide by the classes too: 5 times too small
    return alpha * cross_entropy + beta * temperature**2 * kl


def decode(tokenizer, input_ids):
    """3.5: "each student batch was decoded and re-tokenized for the teacher": what the teacher then reads. Ids -> texts."""
    return tokenizer.batch_decode(input_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def retokenization_changes(student_tokenizer, teacher_tokenizer, texts):
    """How many texts the teacher reads otherwise after the round trip than from the raw text."""
    raw = encode(teacher_tokenizer, texts)
    return sum(a != b for a, b in zip(raw, encode(teacher_tokenizer, decode(student_tokenizer, encode(student_tokenizer, texts)))))


def parse_args(argv=None):
    parser = cli(__doc__, data=True, device=True, overwrite=True)
    parser.add_argument("--name", type=model_name, default="kd_tinybert", help="file name and table key of the student")
    parser.add_argument("--teacher", type=model_name, default="bert", help="a model that 01 made")
    parser.add_argument("--checkpoint", default="huawei-noah/TinyBERT_General_6L_768D", metavar="ID|DIR",
                        help="pretrained student: of the Hub, or a folder")
    parser.add_argument("--keep-layers", type=int, nargs="+", default=[], metavar="I",
                        help="cut a shallower encoder out of the checkpoint: the layers to keep, from 0")
    parser.add_argument("--alpha", type=float, default=0.5, help="weight of the gold labels' cross-entropy")
    parser.add_argument("--beta", type=float, default=0.5, help="weight of the divergence from the teacher")
    parser.add_argument("--temperature", type=float, default=2.0, help="T, softens both distributions")
    add_training_flags(parser)
    return parser.parse_args(argv)


def main():
    args = parse_args()
    device = pick_device(args.device, args.deterministic)
    splits = load_splits(args.data)
    stamp = make_stamp(args, device, text=digest(splits), teacher=weights_of(args.artifacts, args.teacher, splits))
    claim(f"{args.artifacts}/models/{args.name}")
    if already_made(f"{args.artifacts}/models/{args.name}/stamp.json", stamp, args.overwrite):
        print(f"models/{args.name} is there; --overwrite distils it again")
        return args

    teacher, teacher_tokenizer = load_classifier(args.artifacts, args.teacher, device)
    student, tokenizer = load_encoder(args.checkpoint, args.seed, args.keep_layers)
    print(f"{args.name}: {args.checkpoint}, {sum(p.numel() for p in student.parameters()) / 1e6:.1f}M parameters, "
          f"teacher {args.teacher}, {device}", flush=True)
    texts = [row["text"] for row in splits["train"]]
    print(f"{retokenization_changes(tokenizer, teacher_tokenizer, texts)} of {len(texts)} training sentences reach the "
          f"teacher otherwise than from the raw text", flush=True)
    # 3.5: "the teacher kept frozen throughout", so it is asked once. Its log-probabilities are its logits less a constant
    # for each sentence, which the softmax takes off again at any temperature.
    decoded = decode(tokenizer, encode(tokenizer, texts + [row["text"] for row in splits["validation"]]))
    log_p = np.log(predict_proba(teacher, teacher_tokenizer, decoded, training_precision(args, device)))
    teacher_logits = dict(zip(decoded, torch.tensor(log_p, dtype=torch.float32, device=device)))

    def loss(student_logits, labels, input_ids):
        of_batch = torch.stack([teacher_logits[text] for text in decode(tokenizer, input_ids)])
        return distillation_loss(student_logits, of_batch, labels, args.alpha, args.beta, args.temperature)

    log = fit(student.to(device), tokenizer, splits, loss, args, stamp)
    save_classifier(student, tokenizer, log, args, stamp)
    return args


if __name__ == "__main__":
    run(main)
