"""Sections 3.2-3.4: fine-tune one encoder on the gold labels of SST-5.

Reads   the text (--data); a pretrained encoder (--checkpoint)
Writes  models/<model>_<seed>/ : weights, config, tokenizer, training_log.json. One that is there is
        kept; delete the folder to train it again. settings/<model>.json, text.json: the flags and
        the text with which all later calls must agree
Deletes explanations and probes of an earlier model of this name and seed, and then measures/

    python 01_train.py --model bert --checkpoint bert-base-uncased
    python 01_train.py --model distilbert --checkpoint distilbert-base-uncased --seed 43

The paper's test accuracies (4.1): BERT 0.538, DistilBERT 0.517; 04 measures ours. The training
loop, fit(), stands in common.py, because 02 trains by the same protocol (3.5).
"""
import torch.nn.functional as F

from common import (add_training_flags, cli, device_and_text, fit, load_encoder, model_is_there,
                    model_name, pin_training_settings, run, save_classifier)


def cross_entropy(logits, labels, split, indices):
    """The loss of a batch, for fit(): logits (b, 5), labels (b,). split and indices are not used:
    they say which sentences these are, for 02, which looks up their teacher logits."""
    return F.cross_entropy(logits, labels)


def parse_args(argv=None):
    parser = cli(__doc__, "--data", "--device", "--seed")
    parser.add_argument("--model", type=model_name, required=True,
                        help="its name, without the seed")
    add_training_flags(parser)
    return parser.parse_args(argv)


def main(args):
    device, splits = device_and_text(args)
    pin_training_settings(args, device)
    if model_is_there(args):
        return
    model, tokenizer = load_encoder(args.checkpoint, args.seed)
    print(f"{args.model}_{args.seed}: {args.checkpoint}, {model.num_parameters() / 1e6:.1f} M "
          f"parameters, {len(splits['train'])} training sentences, {device}", flush=True)
    log = fit(model.to(device), tokenizer, splits, cross_entropy, args)
    save_classifier(model, tokenizer, log, args)


if __name__ == "__main__":
    run(main, parse_args())
