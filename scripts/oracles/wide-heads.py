"""What transformers computes with the checkpoints of packages/testkit/goldens-wide that wide-heads.mjs has written, beside each as
golden.safetensors: the same prompts as in goldens/make_goldens.py, logits, and keys (after RoPE) and values of the cache. Checks
that the logits are those of the checkpoint that it was made from, where no head was lost.
Needs: pip install torch transformers==5.18.0 safetensors. Usage: wide-heads.py packages/testkit (deterministic, no network)."""

import os
import sys

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, DynamicCache

torch.set_num_threads(1)
root = sys.argv[1]
lossless = {"llama_llama3", "mistral", "qwen2_bias"}

for name in sorted(os.listdir(f"{root}/goldens-wide")):
    folder = f"{root}/goldens-wide/{name}"
    if not os.path.isdir(folder):
        continue
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    source = load_file(f"{root}/goldens/{name}/golden.safetensors")
    tensors, report = {}, []
    for prefix in ["", "long."]:
        if f"{prefix}input_ids" not in source:
            continue
        ids = source[f"{prefix}input_ids"]
        with torch.no_grad():
            out = model(ids, use_cache=True, past_key_values=DynamicCache())
        tensors |= {f"{prefix}input_ids": ids, f"{prefix}logits": out.logits}
        for layer, cache in enumerate(out.past_key_values.layers):
            tensors |= {f"{prefix}key.{layer}": cache.keys, f"{prefix}value.{layer}": cache.values}
        expected = source[f"{prefix}logits"]
        difference = ((out.logits - expected).abs().max() / (expected.max() - expected.min())).item()
        report.append(difference)
        assert (difference < 1e-5) == (name in lossless), (name, difference)
    save_file({key: value.contiguous() for key, value in tensors.items()}, f"{folder}/golden.safetensors")
    shape = list(tensors["key.0"].shape)
    print(f"{name:14} {type(model).__name__:18} cache {shape}, from the source by {max(report):.1e} of the range of logits")
