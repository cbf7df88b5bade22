"""Random rows in the quantised types of llama.cpp's caches, as ggml's own reference quantisers write and read them. The library is the
one that node-llama-cpp brings. Needs: pip install numpy. Usage: cache-blocks.py LIBGGML_BASE.so OUT.json (deterministic)."""

import base64
import ctypes
import json
import sys

import numpy as np

ggml = ctypes.CDLL(sys.argv[1])
text = lambda array: base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
pointer = lambda array: array.ctypes.data_as(ctypes.c_void_p)

random = np.random.default_rng(1)
rows = [
    random.standard_normal(256),
    random.standard_normal(256) * np.exp(2 * random.standard_normal(256)),
    np.repeat([1.5, -3.0, 0.0, 1e-4], 32),
    np.tile(np.arange(-16, 16) / 4, 2),
]
values = np.concatenate(rows).astype(np.float32)
count = len(values)

types = {}
for name, block_bytes in {"q8_0": 34, "q5_1": 24, "q5_0": 22, "q4_1": 20, "q4_0": 18, "iq4_nl": 18}.items():
    blocks = np.zeros(count // 32 * block_bytes, dtype=np.uint8)
    read = np.zeros(count, dtype=np.float32)
    getattr(ggml, f"quantize_row_{name}_ref")(pointer(values), pointer(blocks), ctypes.c_int64(count))
    getattr(ggml, f"dequantize_row_{name}")(pointer(blocks), pointer(read), ctypes.c_int64(count))
    types[name] = {"bytes": text(blocks), "values": text(read)}

with open(sys.argv[2], "w") as file:
    json.dump({"values": text(values), "types": types}, file, indent=1)
    file.write("\n")
