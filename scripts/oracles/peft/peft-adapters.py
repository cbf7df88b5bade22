"""What peft computes with adapters over the checkpoints of packages/testkit/goldens, as golden.safetensors beside each adapter in
packages/testkit/goldens-adapters: `from-kvlr`, which write-adapter.mjs has written before, and `from-peft`, which this script trains
for three steps (rank-stabilised LoRA) and saves. Logits of the golden's prompt with the adapter beside the weights; checks that
merging by peft gives the same.
Needs: pip install torch transformers peft. Usage: peft-adapters.py packages/testkit (deterministic, no network)."""

import os
import sys

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
root = sys.argv[1]
bases = {"from-kvlr": "llama_gqa_bias", "from-peft": "qwen3"}


def load(name):
    folder = f"{root}/goldens/{name}"
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()


def prompt(name):
    return load_file(f"{root}/goldens/{name}/golden.safetensors")["input_ids"]


def train(folder, base):
    torch.manual_seed(0)
    config = LoraConfig(
        r=3, lora_alpha=4, use_rslora=True, target_modules=["q_proj", "v_proj", "up_proj"], task_type="CAUSAL_LM"
    )
    model = get_peft_model(load(base), config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    ids = prompt(base)
    for _ in range(3):
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    for name in os.listdir(folder):
        if name not in ("adapter_config.json", "adapter_model.safetensors"):
            os.remove(f"{folder}/{name}")
    # Where the model lay on the machine that made it is nobody's business.
    path = f"{folder}/adapter_config.json"
    with open(path) as file:
        text = file.read().replace(f"{root}/goldens/{base}", f"goldens/{base}")
    with open(path, "w") as file:
        file.write(text)


train(f"{root}/goldens-adapters/from-peft", bases["from-peft"])
for name, base in bases.items():
    folder = f"{root}/goldens-adapters/{name}"
    ids = prompt(base)
    with torch.no_grad():
        plain = load(base)(ids).logits
        model = PeftModel.from_pretrained(load(base), folder).eval()
        logits = model(ids).logits
        merged = model.merge_and_unload()(ids).logits
    save_file({"input_ids": ids, "logits": logits[0].contiguous()}, f"{folder}/golden.safetensors")
    print(
        f"{name} over {base}: the adapter moves logits by up to {(logits - plain).abs().max():.3f}, "
        f"merging by {(logits - merged).abs().max():.2e}"
    )
