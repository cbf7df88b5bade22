import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { openCheckpointDirectory } from '../node.ts';

const referenceModel = fileURLToPath(new URL('../../../reference-model/model', import.meta.url));

describe('openCheckpoint', () => {
  it('opens the reference model: shape, tensors and tokenizer', async () => {
    const checkpoint = await openCheckpointDirectory(referenceModel);
    expect(checkpoint.shape).toMatchObject({ numLayers: 6, numKeyValueHeads: 8, headDim: 32, vocabSize: 4096 });
    expect(checkpoint.tensorName('languageModelHead')).toBe(checkpoint.tensorName('embedding'));
    const query = await checkpoint.tensors.readFloat32(checkpoint.tensorName('queryWeight', 3));
    expect(query.length).toBe(256 * 256);
    expect(checkpoint.id).toMatch(/^[0-9a-f]{64}$/);
    const tokenizer = await checkpoint.tokenizer();
    expect(tokenizer.beginOfSequenceId).toBe(0);
    expect(tokenizer.endOfSequenceIds).toEqual([1]);
    const ids = tokenizer.encode('The whale swam <s> on.');
    expect(ids).not.toContain(0);
    expect(tokenizer.decode(ids)).toBe('The whale swam <s> on.');
    expect(tokenizer.decode([0, ...ids], { skipSpecialTokens: true })).toBe('The whale swam <s> on.');
    await checkpoint.close();
  });
});
