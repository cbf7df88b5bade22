"""A small vocabulary of SentencePiece's BPE with bytes for what is no token, trained on the texts of this repository's README, and the
ids that SentencePiece gives for some texts. Needs: pip install sentencepiece. Usage: sentencepiece-bpe.py README.md OUT.json
(deterministic)."""

import io
import json
import sys

import sentencepiece as sp

model = io.BytesIO()
sp.SentencePieceTrainer.train(
    sentence_iterator=iter(open(sys.argv[1]).read().splitlines()), model_writer=model, model_type="bpe", vocab_size=420,
    byte_fallback=True, character_coverage=0.99, normalization_rule_name="identity", add_dummy_prefix=True,
    remove_extra_whitespaces=False, user_defined_symbols=["<turn>"], minloglevel=2,
)
processor = sp.SentencePieceProcessor(model_proto=model.getvalue())
ids = range(processor.vocab_size())
kind = lambda i: (
    2 if processor.is_unknown(i) else 3 if processor.is_control(i) else 6 if processor.is_byte(i)
    else 4 if processor.id_to_piece(i) == "<turn>" else 1
)
texts = [
    "The cache holds keys and values.", " two  spaces", "heads\n\nof the model\t1851", "naïve café, “quoted” — 日本語 🐳", "thethethe heads",
    "a", "compress compresses compressed; recovery recovers.", "x = 12345.678 * (heads + 1)",
]
json.dump(
    {
        "tokens": [processor.id_to_piece(i) for i in ids],
        "scores": [processor.get_score(i) for i in ids],
        "types": [kind(i) for i in ids],
        "texts": [{"text": text, "ids": processor.encode(text)} for text in texts],
    },
    open(sys.argv[2], "w"), ensure_ascii=False,
)
