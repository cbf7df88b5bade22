import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AutoTokenizer } from '@huggingface/transformers';
import type { OnnxFloatDtype } from '@kvlr/checkpoint';
import { openCheckpointDirectory, writeOnnxDirectory } from '@kvlr/checkpoint/node';
import { referenceModelDirectory } from '@kvlr/reference-model/node';
import { loadModel } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compressReference } from './support/compress-reference.ts';
import { prompts } from './support/prompts.ts';
import { topTwo } from './support/top-two.ts';
import { openPeer, readPeersFrom } from './support/transformers-js.ts';

/** Positions whose two best tokens are closer than this in logits may be ranked either way by rounding. */
const decisiveMargin: Record<OnnxFloatDtype, number> = { F32: 0.01, F16: 0.1 };
let directory: string;
beforeAll(async () => {
  await prepareNodeRuntime();
  directory = await mkdtemp(join(tmpdir(), 'kvlr-transformers-'));
  readPeersFrom(directory);
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
