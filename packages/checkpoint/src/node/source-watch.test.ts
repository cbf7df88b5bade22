import { mkdtemp, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expectKvlrError } from '@kvlr/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { changedFile, SourceWatch } from './source-watch.ts';

let directory: string;
let weights: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kvlr-watch-'));
  weights = join(directory, 'model.safetensors');
  await writeFile(weights, Buffer.alloc(1_000_000, 'abc'));
  await writeFile(join(directory, 'README.md'), 'text');
});
afterEach(() => rm(directory, { recursive: true }));

describe('a source under a run', () => {
  it('may be touched, and have its other files changed', async () => {
    const watch = (await SourceWatch.begin(directory))!;
    await utimes(weights, 1, 1);
    await writeFile(join(directory, 'README.md'), 'another');
    await watch.check();
    expect(Object.keys(watch.samples)).toEqual(['model.safetensors']);
    expect(changedFile(watch.samples, (await SourceWatch.begin(directory))!.samples)).toBeUndefined();
  });

  it.each<[string, () => Promise<void>]>([
    ['written anew', () => writeFile(weights, Buffer.alloc(1_000_000, 'abd'))],
    ['cut', () => truncate(weights, 999_999)],
    ['removed', () => rm(weights)],
  ])('is noticed when it is %s', async (_, change) => {
    const watch = (await SourceWatch.begin(directory))!;
    await change();
    await expectKvlrError(() => watch.check(), 'source-changed', 'model.safetensors');
    expect(changedFile(watch.samples, (await SourceWatch.begin(directory))!.samples)).toBe('model.safetensors');
  });

  it('is none where a model comes from elsewhere', async () => {
    expect(await SourceWatch.begin('https://example.org/model')).toBeUndefined();
  });
});
