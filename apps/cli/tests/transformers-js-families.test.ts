import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onnxContext } from '@kvlr/checkpoint';
import { writeOnnxDirectory } from '@kvlr/checkpoint/node';
import { differenceByRange, readGolden } from '@kvlr/testkit';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openGolden } from './support/golden-checkpoint.ts';
import { openOnnxSession } from './support/onnx-session.ts';
import { topTwo } from './support/top-two.ts';
import { openPeer, readPeersFrom } from './support/transformers-js.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kvlr-transformers-families-'));
  readPeersFrom(directory);
});
afterAll(() => rm(directory, { recursive: true }));

it.each([
  ...['llama_gqa_bias', 'mistral', 'qwen2_bias', 'qwen3', 'smollm3', 'phi', 'phi3_fused', 'phi3_partial', 'olmo2'],
  ...['gemma', 'gemma2', 'gemma3_text', 'granite', 'cohere'],
])('transformers.js predicts and continues what transformers does, past the window too: %s', async (name) => {
  const source = await openGolden(name);
  await writeOnnxDirectory(join(directory, name), source, source);
  const peer = await openPeer(name);
  const prompts = readGolden(name).windows.filter(({ tokenIds }) => tokenIds.length <= onnxContext(source.shape));
  const { tokenIds, logits } = prompts.at(-1)!;
  expect(differenceByRange(await peer.logits(tokenIds), logits)).toBeLessThan(1e-5);
  expect(differenceByRange(await peer.decode(tokenIds), logits)).toBeLessThan(1e-5);
  const [next] = await peer.generate(tokenIds, 1);
  expect(next).toBe(topTwo(logits.subarray(logits.length - source.shape.vocabSize)).first);
  await peer.close();
});

it('transformers.js takes matrices of 4 bits', async () => {
  const source = await openGolden('llama_gqa_bias');
  const output = join(directory, 'four-bits');
  await writeOnnxDirectory(output, source, source, { dtype: 'Q4_0' });
  const { tokenIds, logits } = readGolden('llama_gqa_bias').windows[0]!;
  const session = await openOnnxSession(output);
  const expected = await session.extend(tokenIds);
  await session.release();
  const peer = await openPeer('four-bits');
  expect(differenceByRange(await peer.logits(tokenIds), expected)).toBeLessThan(1e-6);
  expect(differenceByRange(expected, logits)).toBeGreaterThan(1e-3);
  await peer.close();
});
