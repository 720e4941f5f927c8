"""Sections 3.2-3.4: fine-tune one encoder on the gold labels of SST-5.

Reads   the text (--data); a pretrained encoder (--checkpoint)
Writes  models/<model>_<seed>/ : weights, config, tokenizer, training_log.json, stamp.json

    python 01_train.py --model bert --checkpoint bert-base-uncased
    python 01_train.py --model distilbert --checkpoint distilbert-base-uncased --seed 43

The paper's test accuracies: BERT 0.538, DistilBERT 0.517 (Figure 4; 04 measures ours).
"""
import torch.nn.functional as F

from common import (add_training_flags, already_made, check_tokens_like_other_models, cli, fit,
                    load_encoder, load_splits, model_name, pick_device, run, save_classifier,
                    training_stamp)


def parse_args(argv=None):
    parser = cli(__doc__, "--data", "--device", "--overwrite", "--seed")
    parser.add_argument("--model", type=model_name, required=True,
                        help="its name, without the seed")
    add_training_flags(parser)
    return parser.parse_args(argv)


def main(args):
    device = pick_device(args.device)
    splits = load_splits(args.data)
    folder = f"{args.artifacts}/models/{args.model}_{args.seed}"
    stamp = training_stamp(args, splits, device)
    if already_made(f"{folder}/stamp.json", stamp, args.overwrite):
        print(f"{folder} already exists, skipping")
        return

    model, tokenizer = load_encoder(args.checkpoint, args.seed)
    check_tokens_like_other_models(args, tokenizer, [row["text"] for row in splits["test"]])
    print(f"{folder}: {args.checkpoint}, {model.num_parameters() / 1e6:.1f} M parameters, "
          f"{len(splits['train'])} training sentences, {device}", flush=True)

    def cross_entropy(logits, labels, split, indices):  # the last two are for 02's teacher logits
        return F.cross_entropy(logits, labels)

    log = fit(model.to(device), tokenizer, splits, cross_entropy, args)
    save_classifier(model, tokenizer, log, args, stamp)


if __name__ == "__main__":
    run(main, parse_args())
