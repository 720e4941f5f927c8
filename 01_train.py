"""Sections 3.2-3.4: fine-tune one encoder on the gold labels of SST-5.

Reads   the text (--data); a pretrained encoder (--checkpoint)
Writes  models/<name>/ : weights, config with id2label, tokenizer, training_log.json, stamp.json

    python 01_train.py --name bert --checkpoint bert-base-uncased
    python 01_train.py --name distilbert --checkpoint distilbert-base-uncased
    python 01_train.py --name bert_seed43 --checkpoint bert-base-uncased --seed 43      (a control)

About 3 minutes a model on a T4 (an estimate, not measured). The paper's test accuracies: BERT 0.538, DistilBERT 0.517 (Figure 4; 04 measures ours).
"""
import torch.nn.functional as F

from common import (add_training_flags, already_made, claim, cli, digest, fit, load_encoder, load_splits, make_stamp,
                    model_name, pick_device, run, save_classifier)


def cross_entropy(logits, labels, input_ids):
    """Mean cross-entropy with the gold labels. logits (b, 5), labels (b,)."""
    return F.cross_entropy(logits, labels)


def parse_args(argv=None):
    parser = cli(__doc__, data=True, device=True, overwrite=True)
    parser.add_argument("--name", type=model_name, required=True, help="file name and table key of the model")
    parser.add_argument("--checkpoint", required=True, metavar="ID|DIR", help="pretrained encoder: of the Hub, or a folder")
    parser.add_argument("--keep-layers", type=int, nargs="+", default=[], metavar="I",
                        help="cut a shallower encoder out of the checkpoint: the layers to keep, from 0")
    add_training_flags(parser)
    return parser.parse_args(argv)


def main():
    args = parse_args()
    device = pick_device(args.device, args.deterministic)
    splits = load_splits(args.data)
    stamp = make_stamp(args, device, text=digest(splits))
    claim(f"{args.artifacts}/models/{args.name}")
    if already_made(f"{args.artifacts}/models/{args.name}/stamp.json", stamp, args.overwrite):
        print(f"models/{args.name} is there; --overwrite trains it again")
        return args
    model, tokenizer = load_encoder(args.checkpoint, args.seed, args.keep_layers)
    print(f"{args.name}: {args.checkpoint}, {sum(p.numel() for p in model.parameters()) / 1e6:.1f}M parameters, "
          f"{len(splits['train'])} training sentences, {device}", flush=True)
    log = fit(model.to(device), tokenizer, splits, cross_entropy, args, stamp)
    save_classifier(model, tokenizer, log, args, stamp)
    return args


if __name__ == "__main__":
    run(main)
