import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AutoModelForCausalLM, AutoTokenizer, env, Tensor } from '@huggingface/transformers';
import type { OnnxFloatDtype } from '@kvlr/checkpoint';
import { openCheckpointDirectory, writeOnnxDirectory } from '@kvlr/checkpoint/node';
import { referenceModelDirectory } from '@kvlr/reference-model/node';
import { loadModel } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compressReference } from './support/compress-reference.ts';
import { prompts } from './support/prompts.ts';
import { topTwo } from './support/top-two.ts';

/** Positions whose two best tokens are closer than this in logits may be ranked either way by rounding. */
const decisiveMargin: Record<OnnxFloatDtype, number> = { F32: 0.01, F16: 0.1 };
/** Tokens that a prompt is cut behind; the rest is run one by one behind the cache. */
const prefilled = 8;

let directory: string;
beforeAll(async () => {
  await prepareNodeRuntime();
  directory = await mkdtemp(join(tmpdir(), 'kvlr-transformers-'));
  env.allowRemoteModels = false;
  env.localModelPath = `${directory}/`;
});
afterAll(() => rm(directory, { recursive: true }));

const subjects: [string, () => Promise<string>][] = [
  ['original', async () => referenceModelDirectory],
  ['compressed', () => compressReference(join(directory, 'checkpoint'))],
];

describe.each(subjects)('kvlr and transformers.js on the %s checkpoint', (name, prepare) => {
  let kvlr: Awaited<ReturnType<typeof openKvlr>>;
  beforeAll(async () => {
    kvlr = await openKvlr(await prepare());
  });
  afterAll(() => kvlr.close());

  describe.each(['F32', 'F16'] as const)('%s', (dtype) => {
    let peer: Awaited<ReturnType<typeof openPeer>>;
    beforeAll(async () => {
      await writeOnnxDirectory(join(directory, `${name}-${dtype}`), kvlr.checkpoint, kvlr.checkpoint, { dtype });
      peer = await openPeer(`${name}-${dtype}`);
    });
    afterAll(() => peer.close());

    it('put the same token first, wherever the choice is clear, with past and without', async () => {
      const choices: {
        prompt: string;
        position: number;
        kvlr: number;
        margin: number;
        peer: Record<string, number>;
      }[] = [];
      for (const prompt of prompts) {
        const tokenIds = kvlr.encode(prompt);
        const ours = await kvlr.model.logits(tokenIds);
        const { vocabSize } = kvlr.model;
        const [whole, decoded] = [await peer.logits(tokenIds), await peer.decode(tokenIds)];
        for (let position = 0; position < tokenIds.length; position++) {
          const row = [position * vocabSize, (position + 1) * vocabSize] as const;
          const [expected, ...received] = [ours, whole, decoded].map((logits) => topTwo(logits.subarray(...row)));
          const peer = { whole: received[0]!.first, decoded: received[1]!.first };
          choices.push({ prompt, position, kvlr: expected!.first, margin: expected!.margin, peer });
        }
      }
      const clear = choices.filter(({ margin }) => margin > decisiveMargin[dtype]);
      expect(clear.filter(({ kvlr: first, peer }) => peer.whole !== first || peer.decoded !== first)).toEqual([]);
      expect(clear.length).toBeGreaterThan(80);
    });

    it('continue a prompt with the same tokens, until a choice is unclear', async () => {
      const promptIds = kvlr.encode(prompts[0]!);
      const theirs = await peer.generate(promptIds, 24);
      const logits = await kvlr.model.logits(Int32Array.from([...promptIds, ...theirs]));
      const { vocabSize } = kvlr.model;
      const choices = theirs.map((tokenId, index) => {
        const row = (promptIds.length - 1 + index) * vocabSize;
        return { tokenId, ...topTwo(logits.subarray(row, row + vocabSize)) };
      });
      const clear = choices.filter(({ margin }) => margin > decisiveMargin[dtype]);
      expect(clear.map(({ tokenId }) => tokenId)).toEqual(clear.map(({ first }) => first));
      expect(clear.length).toBeGreaterThan(12);
    });

    it('give a text the same token ids', async () => {
      const tokenizer = await AutoTokenizer.from_pretrained(`${name}-${dtype}`);
      for (const prompt of prompts) {
        expect(tokenizer.encode(prompt, { add_special_tokens: false })).toEqual([...kvlr.encode(prompt)].slice(1));
      }
    });
  });
});

async function openKvlr(checkpointDirectory: string) {
  const checkpoint = await openCheckpointDirectory(checkpointDirectory);
  const tokenizer = await checkpoint.tokenizer();
  const model = await loadModel(checkpoint, { backend: 'wasm' });
  return {
    checkpoint,
    model,
    encode: (text: string) => Int32Array.from([...tokenizer.prefixIds, ...tokenizer.encode(text)]),
    async close() {
      model.dispose();
      await checkpoint.close();
    },
  };
}

/** The exported directory in transformers.js, which takes the graph that config.json names. */
async function openPeer(name: string) {
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
