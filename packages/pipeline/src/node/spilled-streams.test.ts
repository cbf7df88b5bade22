import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memoryStreams, type StreamStorage } from '@kvlr/core';
import { createTinyModel, randomTokenIds } from '@kvlr/testkit';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ModelRunner } from '../models/runner.ts';
import { spilledStreams } from './spilled-streams.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kvlr-test-'));
});
afterAll(() => rm(directory, { recursive: true }));

it('keeps in a file what is beyond the memory, and leaves nothing', async () => {
  const store = spilledStreams(100, directory).open();
  const streams = Array.from({ length: 5 }, (_, window) => Float32Array.of(window, window / 3, 7, -window));
  for (const [window, stream] of streams.entries()) await store.write(window, new Float32Array(stream.length));
  for (const [window, stream] of streams.entries()) await store.write(window, stream);
  await store.write(9, new Float32Array(20).fill(1.5));
  // Of a process that is killed now nothing stays, but on Windows.
  expect(await readdir(directory)).toHaveLength(process.platform === 'win32' ? 1 : 0);
  for (const [window, stream] of streams.entries()) expect(await store.read(window)).toEqual(stream);
  expect(await store.read(9)).toEqual(new Float32Array(20).fill(1.5));
  await store.close();
  expect(await readdir(directory)).toEqual([]);
});

it('changes no number of a model', async () => {
  const model = createTinyModel();
  const windows = [1, 2, 3].map((seed) => randomTokenIds(9, model.shape.vocabSize, seed));
  const logitsWith = async (streams: StreamStorage) => {
    const runner = await ModelRunner.create({ backend: 'cpu', streams });
    return runner.use(model, windows, (logits) => Promise.all(windows.map((window) => logits.logits(window))));
  };
  expect(await logitsWith(spilledStreams(0, directory))).toEqual(await logitsWith(memoryStreams));
  expect(await readdir(directory)).toEqual([]);
});
