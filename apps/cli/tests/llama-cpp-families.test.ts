import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCheckpointDirectory, writeGguf } from '@kvlr/checkpoint/node';
import { asciiTokenizerFiles, readGolden } from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openLlamaCppOracle } from './support/llama-cpp-oracle.ts';
import { topTwo } from './support/top-two.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kvlr-families-'));
});
afterAll(() => rm(directory, { recursive: true }));

/** A golden checkpoint as a GGUF file. */
async function exportGolden(name: string): Promise<string> {
  const source = join(directory, name);
  await cp(readGolden(name).directory, source, { recursive: true });
  for (const [file, content] of Object.entries(asciiTokenizerFiles())) await writeFile(join(source, file), content);
  const checkpoint = await openCheckpointDirectory(source);
  const path = join(directory, `${name}.gguf`);
  await writeGguf(path, checkpoint, checkpoint);
  await checkpoint.close();
  return path;
}

describe('llama.cpp predicts what transformers predicts', () => {
  it.each(process.env.NAMES!.split(','))('%s', async (name) => {
    const [{ tokenIds, logits }] = readGolden(name).windows as [{ tokenIds: Int32Array; logits: Float32Array }];
    const oracle = await openLlamaCppOracle(await exportGolden(name));
    const predictions = await oracle.predict(tokenIds);
    await oracle.dispose();
    const width = logits.length / tokenIds.length;
    let worst = 0;
    let wrong = 0;
    for (const [position, { first }] of predictions.entries()) {
      const expected = logits.subarray(position * width, (position + 1) * width);
      const { first: best, margin } = topTwo(expected);
      worst = Math.max(worst, Math.abs(first.logit - expected[first.tokenId]!));
      if (first.tokenId !== best) wrong++;
    }
    console.log(name, 'worst', worst, 'wrong', wrong);
  });
});
