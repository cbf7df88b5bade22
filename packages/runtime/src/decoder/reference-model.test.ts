import type { HuggingFaceCheckpoint } from '@kvlr/checkpoint';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { referenceModelDirectory } from '@kvlr/reference-model/node';
import { differenceByRange, oracleLogits } from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testedBackends } from '../testing/tested-backends.ts';
import { loadModel } from './load-model.ts';

const texts = ['In the beginning God created the heaven and', 'Call me Ishmael. Some years ago, never mind how'];

describe('the embedded model', async () => {
  let checkpoint: HuggingFaceCheckpoint;
  const windows: { ids: Int32Array; expected: Float64Array }[] = [];
  beforeAll(async () => {
    checkpoint = await openCheckpointDirectory(referenceModelDirectory);
    const tokenizer = await checkpoint.tokenizer();
    for (const text of texts) {
      const ids = Int32Array.from([...tokenizer.prefixIds, ...tokenizer.encode(text)]);
      windows.push({ ids, expected: await oracleLogits(checkpoint, ids) });
    }
  });
  afterAll(() => checkpoint.close());

  for (const { backend, skip } of await testedBackends()) {
    it.skipIf(skip)(`has the oracle's logits on ${backend}`, async () => {
      const model = await loadModel(checkpoint, { backend });
      // SwiftShader takes as long for one window as wasm for fifty.
      for (const { ids, expected } of backend === 'webgpu' ? windows.slice(0, 1) : windows) {
        expect(differenceByRange(await model.logits(ids), expected)).toBeLessThan(1e-5);
      }
      model.dispose();
    });
  }

  it('continues a text in the manner of its training', async () => {
    const model = await loadModel(checkpoint, { backend: 'wasm' });
    const tokenizer = await checkpoint.tokenizer();
    const ids: number[] = [];
    const prompt = [...tokenizer.prefixIds, ...tokenizer.encode('And God said unto')];
    for await (const { tokenId } of model.generate(prompt, { maxNewTokens: 3 })) ids.push(tokenId);
    expect(tokenizer.decode(ids)).toBe(' him, Behold');
    model.dispose();
  });
});
