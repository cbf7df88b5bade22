import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { referenceModelDirectory } from '@kvlr/reference-model/node';
import { loadModel } from '@kvlr/runtime/node';
import { launchChromium, missingChromium } from '@kvlr/testkit/chromium';
import type { Browser } from 'playwright-core';
import { build, defaultClientConditions } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serveDirectory } from '../../cli/src/serve-directory.ts';

const fromRoot = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const prompt = 'And God said unto';
const settings = { maxNewTokens: 4 };

describe.skipIf(missingChromium)(`examples/worker ${missingChromium ?? ''}`, () => {
  let directory: string;
  let served: Awaited<ReturnType<typeof serveDirectory>>;
  let browser: Browser;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kvlr-worker-'));
    await build({
      configFile: false,
      logLevel: 'error',
      root: fromRoot('examples/worker'),
      resolve: {
        alias: { '@kvlr/runtime': fromRoot('packages/runtime/src/index.ts') },
        conditions: ['@kvlr/source', ...defaultClientConditions],
      },
      build: {
        outDir: directory,
        target: 'es2022',
        lib: { entry: 'model-worker.mjs', formats: ['es'], fileName: () => 'model-worker.js' },
      },
    });
    await writeFile(join(directory, 'index.html'), '<!doctype html><title>A page</title>');
    await cp(referenceModelDirectory, join(directory, 'model'), { recursive: true });
    served = await serveDirectory(directory, 0);
    browser = await launchChromium({ webGpu: false });
  });
  afterAll(async () => {
    await browser?.close();
    await served?.close();
    await rm(directory, { recursive: true, force: true });
  });

  it('writes in a browser’s worker what the same model writes in Node', async () => {
    const page = await browser.newPage();
    await page.goto(served.url);
    const steps = await page.evaluate(
      ([text, how]) =>
        new Promise<{ text: string; finishReason?: string }[]>((resolve, reject) => {
          const worker = new Worker('./model-worker.js', { type: 'module' });
          const received: { text: string; finishReason?: string }[] = [];
          worker.onerror = ({ message }) => reject(new Error(message));
          worker.onmessage = ({ data }) => {
            if (data.type === 'error') reject(new Error(data.message));
            if (data.type === 'ready') worker.postMessage({ type: 'generate', prompt: text, settings: how });
            if (data.type === 'step') received.push(data);
            if (data.finishReason) resolve(received);
          };
          worker.postMessage({ type: 'load', source: new URL('./model/', location.href).href, backend: 'cpu' });
        }),
      [prompt, settings] as const,
    );
    const model = await loadModel(referenceModelDirectory, { backend: 'cpu' });
    expect(steps.map(({ text }) => text).join('')).toBe(await model.complete(prompt, settings));
    expect(steps.at(-1)!.finishReason).toBe('length');
    await model.dispose();
  });
});
