import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tinyCheckpointFiles } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BackendName } from '../backends/select-backend.ts';
import { countDeviceBytes } from '../testing/count-device-bytes.ts';
import { testedBackends } from '../testing/tested-backends.ts';
import type { LanguageModel } from '../text/language-model.ts';
import { loadModel } from './load-model.ts';

/** `npm run soak` asks for as many as a long evening brings. */
const isFull = process.env.KVLR_SOAK === 'full';
const counts = isFull ? { tokens: 1500, loads: 30, aborts: 300 } : { tokens: 120, loads: 6, aborts: 30 };
/** Two thirds of the work warm up: buffers and pipelines are made when they are first needed, and what comes a second time is kept. */
const thirds = [1, 2, 3];
const backends = await testedBackends();

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kvlr-soak-'));
  for (const [name, content] of Object.entries(await tinyCheckpointFiles())) {
    await writeFile(join(directory, name), content);
  }
});
afterAll(() => rm(directory, { recursive: true }));

/** What a process holds. */
interface Held {
  tensors: number;
  bytes: number;
  /** Open files, where the system lists them; 0 elsewhere. */
  descriptors: number;
}

async function held(deviceBytes: () => number): Promise<Held> {
  const descriptors = await readdir('/proc/self/fd').catch(() => []);
  return { tensors: memory().numTensors, bytes: deviceBytes(), descriptors: descriptors.length };
}

let deviceBytes = () => 0;

/** Does something so many times; what is held afterwards is what was held at two thirds. */
async function expectConstant(what: string, count: number, work: (times: number) => Promise<void>): Promise<void> {
  const seen: Held[] = [];
  for (const _ of thirds) {
    await work(count / thirds.length);
    seen.push(await held(deviceBytes));
  }
  if (isFull) console.info(`${count} ${what}: ${JSON.stringify(seen)}`);
  expect(seen[2]).toEqual(seen[1]);
}

describe.each(backends)('what a process holds stays the same on $backend', ({ backend, skip }) => {
  const because = skip ? ` (not tried: ${skip})` : '';
  it.skipIf(skip)(
    `over tokens, loads and requests that are aborted${because}`,
    async () => {
      const model = await load(backend);
      deviceBytes = countDeviceBytes();
      const cache = await model.decoder.createCache({ window: 32 });
      await expectConstant('tokens', counts.tokens, async (maxNewTokens) => {
        let tokens = 0;
        for await (const _ of model.decoder.generate([5], { maxNewTokens, cache })) tokens += 1;
        expect(tokens).toBe(maxNewTokens);
      });
      cache.dispose();
      await expectConstant('aborted requests', counts.aborts, async (times) => {
        for (let request = 0; request < times; request++) await abortAfter(model, request % 5);
      });
      await expectConstant('loads', counts.loads, async (times) => {
        for (let count = 0; count < times; count++) {
          const other = await load(backend);
          await other.complete('The sea', { maxNewTokens: 2 });
          await other.dispose();
        }
      });
      await model.dispose();
    },
    600_000,
  );
});

function load(backend: BackendName): Promise<LanguageModel> {
  return loadModel(directory, { backend, weights: 'int8', cache: { dtype: 'int8' } });
}

/** A request that is stopped after so many tokens, before the first one too. */
async function abortAfter(model: LanguageModel, tokens: number): Promise<void> {
  const stop = new AbortController();
  let seen = 0;
  if (tokens === 0) stop.abort();
  const request = async () => {
    for await (const _ of model.generate('The sea was', { maxNewTokens: 50, signal: stop.signal })) {
      seen += 1;
      if (seen === tokens) stop.abort();
    }
  };
  await expect(request()).rejects.toMatchObject({ code: 'aborted' });
  expect(seen).toBe(tokens);
}
