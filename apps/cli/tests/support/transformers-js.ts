import { AutoModelForCausalLM, env, Tensor } from '@huggingface/transformers';

/** Tokens that a prompt is cut behind; the rest is run one by one behind the cache. */
const prefilled = 8;

/** Models are the folders of a directory, and nothing is downloaded. */
export function readPeersFrom(directory: string): void {
  env.allowRemoteModels = false;
  env.localModelPath = `${directory}/`;
}

/** The exported directory in transformers.js, which takes the graph that config.json names. */
export async function openPeer(name: string) {
  const model = await AutoModelForCausalLM.from_pretrained(name, {
    device: 'cpu',
    session_options: { logSeverityLevel: 3, intraOpNumThreads: 1 },
  });
  const idTensor = (ids: Int32Array) => new Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]);
  const maskTensor = (length: number) => new Tensor('int64', new BigInt64Array(length).fill(1n), [1, length]);
  const forward = async (ids: Int32Array, seen: number, cache?: unknown) => {
    const inputs = { input_ids: idTensor(ids), attention_mask: maskTensor(seen + ids.length) };
    const output = await model.forward({ ...inputs, past_key_values: cache });
    const present = Object.entries(output).filter(([key]) => key.startsWith('present'));
    return {
      logits: output.logits.data as Float32Array,
      cache: Object.fromEntries(present.map(([key, tensor]) => [key.replace('present', 'past_key_values'), tensor])),
    };
  };
  return {
    logits: async (ids: Int32Array) => (await forward(ids, 0)).logits,
    async decode(ids: Int32Array): Promise<Float32Array> {
      let step = await forward(ids.subarray(0, prefilled), 0);
      const rows = [step.logits];
      for (let position = prefilled; position < ids.length; position++) {
        step = await forward(ids.subarray(position, position + 1), position, step.cache);
        rows.push(step.logits);
      }
      return Float32Array.from(rows.flatMap((row) => [...row]));
    },
    async generate(ids: Int32Array, count: number): Promise<number[]> {
      const output = await model.generate({
        inputs: idTensor(ids),
        max_new_tokens: count,
        do_sample: false,
      } as Parameters<typeof model.generate>[0]);
      return Array.from((output as Tensor).data as BigInt64Array, Number).slice(ids.length);
    },
    close: () => model.dispose(),
  };
}
