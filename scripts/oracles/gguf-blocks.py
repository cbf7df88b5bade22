"""Random blocks of every GGUF type that kvlr reads, and their numbers as the package `gguf` (ggml-org) gives them; blocks of random
numbers in the types that kvlr writes. Needs: pip install gguf numpy. Usage: gguf-blocks.py OUT.json (deterministic)."""

import base64
import json
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

random = np.random.default_rng(1)
text = lambda array: base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()

# Bytes of a block that hold a binary16 number: they must be finite, and small enough to stay so.
halves = {
    T.F16: [0], T.BF16: [], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
}

decoded = {}
for kind, places in halves.items():
    size, block_bytes = GGML_QUANT_SIZES[kind]
    count = max(1, 64 // size)
    blocks = random.integers(0, 256, (count, block_bytes), dtype=np.uint8)
    if kind == T.BF16:
        blocks = (random.standard_normal(count).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    for place in places:
        blocks[:, place : place + 2] = random.standard_normal((count, 1)).astype(np.float16).view(np.uint8)
    values = dequantize(blocks.reshape(1, -1), kind).reshape(-1).astype(np.float32)
    decoded[kind.name] = {"bytes": text(blocks), "values": text(values)}

encoded = {}
for kind in (T.Q8_0, T.Q4_0):
    values = random.standard_normal((1, 128)).astype(np.float32)
    values[0, 96:] = 0
    encoded[kind.name] = {"values": text(values), "bytes": text(quantize(values, kind))}

with open(sys.argv[1], "w") as file:
    json.dump({"decoded": decoded, "encoded": encoded}, file, indent=1)
    file.write("\n")
