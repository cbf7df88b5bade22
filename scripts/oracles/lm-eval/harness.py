"""What lm-evaluation-harness with transformers says of a checkpoint in the embedded tasks, item by item, as JSON lines: task, doc_id, the
harness's hashes of document, prompt and target, and its responses. Weights and arithmetic are float32, one sequence at a time.

Needs: pip install lm_eval==0.4.13 torch transformers. Usage: harness.py CHECKPOINT OUT.jsonl [ITEMS] (no network; ITEMS of each task and
a twentieth as many whole texts, default all)."""

import json
import os
import sys
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1")
os.environ.setdefault("HF_DATASETS_CACHE", tempfile.mkdtemp())
import torch
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

torch.set_num_threads(1)
checkpoint, out = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
items = int(sys.argv[3]) if len(sys.argv) > 3 else None
texts = items and -(-items // 20)

# The tasks name their data relative to their own folder, and the harness looks from where it runs.
tasks_folder = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../../packages/reference-model/tasks"))
os.chdir(tasks_folder)
manager = TaskManager(include_path=tasks_folder, include_defaults=False)


def evaluate(tasks, limit, **settings):
    model = HFLM(pretrained=checkpoint, dtype="float32", device="cpu", batch_size=1, **settings)
    results = simple_evaluate(
        model=model, tasks=tasks, task_manager=manager, limit=limit, log_samples=True, bootstrap_iters=0
    )
    return results["samples"], results["results"]


samples, scores = evaluate(["kvlr_cloze", "kvlr_continuation", "kvlr_copy"], items)
# The tokenizer puts a begin token before every text, and the rolling windows of the harness put one there too: without this the second
# would be scored as if it belonged to the text.
rolling = evaluate(["kvlr_texts_rolling"], texts, add_bos_token=False)
samples.update(rolling[0])
scores.update(rolling[1])

with open(out, "w") as file:
    for task, of_task in samples.items():
        for sample in sorted(of_task, key=lambda one: one["doc_id"]):
            responses = [response[0] if isinstance(response, list) else response for response in sample["resps"]]
            row = {"task": task, "doc_id": sample["doc_id"]}
            row.update({name: sample[name] for name in ("doc_hash", "prompt_hash", "target_hash")})
            row["resps"] = [
                [round(float(one[0]), 4), bool(one[1])] if isinstance(one, tuple) else one if isinstance(one, str) else round(float(one), 4)
                for one in responses
            ]
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
print(json.dumps(scores, indent=2, default=str))
