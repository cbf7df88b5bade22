import { cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { tinyCheckpointFiles } from '@kvlr/testkit';
import { launchChromium, missingChromium } from '@kvlr/testkit/chromium';
import { unzipSync } from 'fflate';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli } from '../../cli/tests/support/tiny-run.ts';
import type { PairSet } from '../src/pair.ts';
import {
  dropOn,
  findAccessibilityProblems,
  numberIn,
  type OpenDemo,
  openDemo,
  readColumns,
  type ServedPage,
  serveBuiltPage,
  takeScreenshot,
  waitForDone,
} from './support.ts';

let served: ServedPage;
let directory: string;
/** What the build wrote beside the pairs. */
let pairs: PairSet;

// Makes the pairs where none are: a minute on a quiet machine.
beforeAll(async () => {
  if (missingChromium !== undefined) return;
  directory = await mkdtemp(join(tmpdir(), 'kvlr-demo-test-'));
  served = await serveBuiltPage();
  pairs = (await (await fetch(`${served.url}pairs/pairs.json`)).json()) as PairSet;
}, 600_000);

afterAll(async () => {
  await served?.close();
  if (directory) await rm(directory, { recursive: true });
});

const scoreOf = (pair: string, codec: string) => {
  const { scores } = pairs.records.find(({ name }) => name === pair)!;
  return scores.find((score) => score.codec === codec)!;
};
const textOf = async (page: Page, selector: string) => (await page.locator(selector).textContent())!;

function expectNoMishap({ problems, foreignRequests }: OpenDemo): void {
  expect(problems).toEqual([]);
  expect(foreignRequests).toEqual([]);
}

describe.skipIf(missingChromium)(`the page on WASM ${missingChromium ?? ''}`, () => {
  const tokens = 24;
  const query = `?backend=wasm&tokens=${tokens}&calibration=2&window=64&evaluation=1`;
  let browser: Browser;
  let demo: OpenDemo;

  beforeAll(async () => {
    browser = await launchChromium({ webGpu: false });
    demo = await openDemo(browser, served.url, query);
  });
  afterAll(() => browser?.close());

  it('begins to write by itself: both texts, where they part, and the exact bytes of their caches', async () => {
    const { page } = demo;
    await waitForDone(page, 'write');
    const { original, compressed } = await readColumns(page);
    expect(original.shared).toBe(compressed.shared);
    expect((original.shared + original.own).trim().split(/\s+/).length).toBeGreaterThan(5);
    expect(original.own[0]).not.toBe(compressed.own[0] ?? '');
    expect(original.contextTokens).toBeGreaterThan(tokens);
    expect(original.contextBytes).toBe(original.contextTokens * scoreOf('all', 'f16').bytesPerToken);
    expect(compressed.contextBytes).toBe(compressed.contextTokens * scoreOf('half', 'f16').bytesPerToken);
    for (const { tokensPerSecond } of [original, compressed]) expect(tokensPerSecond).toBeGreaterThan(0);
    expect(await textOf(page, '#backend')).toMatch(/^Computed on WASM: as asked/);
    expectNoMishap(demo);
  });

  it('is clean for axe and fits a phone, in light and in dark', async () => {
    const { page } = demo;
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await page.setViewportSize({ width: 1200, height: 900 });
      await takeScreenshot(page, colorScheme);
      expect(await findAccessibilityProblems(page), colorScheme).toEqual([]);
      await page.setViewportSize({ width: 390, height: 844 });
      // Plots are drawn anew once the page has its new width.
      await expect.poll(() => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)).toBe(0);
      await takeScreenshot(page, `phone-${colorScheme}`);
    }
    await page.emulateMedia({ colorScheme: 'light' });
    await page.setViewportSize({ width: 1200, height: 900 });
  });

  it('follows the sliders, by keyboard: figures of the build, capacity, and texts written anew', async () => {
    const { page } = demo;
    await page.focus('#heads-dial-input');
    await page.keyboard.press('ArrowRight');
    await page.focus('#codec-dial-input');
    await page.keyboard.press('ArrowRight');
    const score = scoreOf('quarter', 'int8');
    expect(numberIn(await textOf(page, '#figure-agreement'))).toBeCloseTo(100 * score.agreement.value, 1);
    expect(numberIn(await textOf(page, '#figure-perplexity'))).toBeCloseTo(score.perplexity.value, 2);
    expect(numberIn(await textOf(page, '#base-cache'))).toBe(score.bytesPerToken);
    // Llama-3.1-8B with 2 of its 8 heads: 32 layers of keys and values, 128 codes and a word of scale a head.
    const llama = page.locator('#capacity tr', { hasText: 'Llama-3.1-8B' });
    const expected = Math.floor(2 ** 30 / (2 * 32 * 2 * (128 + 4)));
    expect(numberIn((await llama.locator('td b').last().textContent())!)).toBe(expected);
    await waitForDone(page, 'write');
    const { compressed } = await readColumns(page);
    expect(compressed.contextBytes).toBe(compressed.contextTokens * score.bytesPerToken);
    expect(page.url()).toContain('heads=quarter');
    expectNoMishap(demo);
  });

  it('stops when asked, compresses, writes with the result, and keeps it over a reload', async () => {
    const { page } = demo;
    await page.focus('#compress');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#stages [data-state=running]');
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('stop-compress');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.querySelector('#status')!.textContent === 'Stopped.');
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('compress');
    await page.click('#compress');
    // What is compressed writes at once: the mark of the compression may be gone before anybody looks.
    await waitForDone(page, 'write');
    expect(await textOf(page, '#kept')).toBe('This browser keeps it.');
    const { compressed } = await readColumns(page);
    expect(compressed.contextBytes / compressed.contextTokens).toBeLessThan(scoreOf('all', 'f16').bytesPerToken);
    const facts = await textOf(page, '#result-facts');
    await takeScreenshot(page, 'compressed');
    await page.reload();
    await waitForDone(page, 'write');
    expect(await textOf(page, '#result-facts')).toBe(facts);
    await page.check('[name=set][value=own]', { force: true });
    await waitForDone(page, 'write');
    expect((await readColumns(page)).compressed.own).toBe(compressed.own);
    expectNoMishap(demo);
  });

  /** Presses a button of the result and keeps what comes, as browsers do that let no page write to disk. */
  const download = async (page: Page, button: string, name: string): Promise<string> => {
    await page.evaluate(() => Object.assign(globalThis, { showSaveFilePicker: undefined }));
    const [coming] = await Promise.all([page.waitForEvent('download'), page.click(button)]);
    const path = join(directory, name);
    await coming.saveAs(path);
    return path;
  };
  const extract = async (archive: string): Promise<string> => {
    const folder = archive.replace(/\.zip$/, '');
    for (const [name, bytes] of Object.entries(unzipSync(await readFile(archive)))) {
      await mkdir(dirname(join(folder, name)), { recursive: true });
      await writeFile(join(folder, name), bytes);
    }
    return folder;
  };
  /** What the command line sees in a model: its KV heads. */
  const inspectHeads = async (path: string): Promise<number> => {
    const { exitCode, out } = await runCli(['inspect', path, '--json']);
    expect(exitCode).toBe(0);
    return JSON.parse(out).shape.numKeyValueHeads;
  };

  it('hands out a checkpoint and a GGUF file that the command line opens', async () => {
    const { page } = demo;
    expect(await inspectHeads(await extract(await download(page, '#save-zip', 'half.zip')))).toBe(2);
    expect(await inspectHeads(await download(page, '#save-gguf', 'half.gguf'))).toBe(2);
    expectNoMishap(demo);
  });

  it('writes to disk where the browser lets it, the same bytes', async () => {
    const { page } = demo;
    // The page's own file system stands in for the disk: nobody can press a button in the browser's dialog here.
    await page.evaluate(() => {
      const root = () => navigator.storage.getDirectory();
      const showSaveFilePicker = async () => (await root()).getFileHandle('half.gguf', { create: true });
      const showDirectoryPicker = async () => (await root()).getDirectoryHandle('half', { create: true });
      Object.assign(globalThis, { showSaveFilePicker, showDirectoryPicker });
    });
    for (const button of ['#save-gguf', '#save-folder']) {
      // An earlier download was waited for by its file: its mark is still there.
      await page.evaluate(() => delete document.body.dataset.done);
      await page.click(button);
      await waitForDone(page, 'save');
    }
    const sizes = await page.evaluate(async () => {
      const root = await navigator.storage.getDirectory();
      const folder = await root.getDirectoryHandle('half');
      const files = [await root.getFileHandle('half.gguf'), await folder.getFileHandle('model.safetensors')];
      return Promise.all(files.map(async (file) => (await file.getFile()).size));
    });
    const saved = ['half.gguf', join('half', 'model.safetensors')].map((name) => stat(join(directory, name)));
    expect(sizes).toEqual((await Promise.all(saved)).map(({ size }) => size));
    expectNoMishap(demo);
  });

  it('takes a folder that is dropped, says what it would take, and compresses it', async () => {
    const { page } = demo;
    const folder = join(directory, 'tiny');
    await mkdir(folder);
    for (const [name, content] of Object.entries(await tinyCheckpointFiles()))
      await writeFile(join(folder, name), content);
    await dropOn(page, '#drop', [folder]);
    await waitForDone(page, 'open');
    expect(await textOf(page, '#own-name')).toBe('tiny');
    expect(await textOf(page, '#estimate')).toMatch(/KV heads?.*: about .* of memory\. Loads into/);
    await page.click('#compress');
    // What is compressed writes at once, and a tiny model is done before anybody looks.
    await waitForDone(page, 'write');
    const result = await extract(await download(page, '#save-zip', 'tiny-half.zip'));
    expect(await inspectHeads(result)).toBeLessThan(4);
    const facts = await textOf(page, '#result-facts');
    const written = await readColumns(page);
    const writeOwn = async () => {
      await page.check('[name=set][value=own]', { force: true });
      await waitForDone(page, 'write');
      return readColumns(page);
    };
    await page.reload();
    await waitForDone(page, 'write');
    expect(await textOf(page, '#own-name')).toBe('tiny');
    expect(await textOf(page, '#result-facts')).toBe(facts);
    const again = await writeOwn();
    expect([again.original.own, again.compressed.own]).toEqual([written.original.own, written.compressed.own]);
    // Compressed once more, from the files that were kept.
    await page.check('[name=keep][value="0.25"]', { force: true });
    await page.click('#compress');
    await page.waitForFunction(() => document.querySelector('#kept')!.textContent !== '');
    await waitForDone(page, 'write');
    expect(await textOf(page, '#kept')).toBe('This browser keeps it.');
    await page.click('#close-own');
    await waitForDone(page, 'close-own');
    await page.reload();
    await waitForDone(page, 'write');
    expect(await page.isVisible('#own-model')).toBe(false);
    expectNoMishap(demo);
  });

  it('takes a GGUF file that is dropped, and an address', async () => {
    const { page } = demo;
    await dropOn(page, '#drop', [join(directory, 'half.gguf')]);
    await waitForDone(page, 'open');
    expect(await textOf(page, '#own-facts')).toContain('2 KV heads of 64');
    await page.click('#close-own');
    await waitForDone(page, 'close-own');
    expectNoMishap(demo);
    await cp(join(directory, 'tiny'), join(served.directory, 'tiny'), { recursive: true });
    await page.fill('#address', `${served.url}tiny/`);
    await page.press('#address', 'Enter');
    await waitForDone(page, 'open');
    expect(await textOf(page, '#own-facts')).toContain('4 KV heads of 8');
    expect(demo.foreignRequests).toEqual([]);
    await page.click('#close-own');
    await waitForDone(page, 'close-own');
  });

  it('says how to go on when WebGPU is asked for and does not answer, and goes on', async () => {
    const { page } = await openDemo(browser, served.url, '?backend=webgpu&tokens=4');
    await page.waitForSelector('#failure:not([hidden])');
    expect(await textOf(page, '#failure-message')).toContain('WebGPU');
    expect(await textOf(page, '#failure-hint')).toContain('Choose WASM or auto');
    await page.click('#use-wasm');
    await waitForDone(page, 'write');
    expect((await readColumns(page)).compressed.contextTokens).toBeGreaterThan(4);
    await page.context().close();
  });
});

describe.skipIf(missingChromium)(`the page on WebGPU, computed by SwiftShader ${missingChromium ?? ''}`, () => {
  let browser: Browser;

  beforeAll(async () => {
    browser = await launchChromium({ webGpu: true });
  });
  afterAll(() => browser?.close());

  it('writes with both models what it writes on WASM, and passes over such an adapter when the choice is left to it', async () => {
    const demo = await openDemo(browser, served.url, '?backend=webgpu&tokens=8');
    await waitForDone(demo.page, 'write');
    expect(await textOf(demo.page, '#backend')).toMatch(/^Computed on WebGPU: as asked, on .*software/);
    const onGpu = await readColumns(demo.page);
    expectNoMishap(demo);
    await demo.page.goto(`${served.url}?tokens=8`);
    await waitForDone(demo.page, 'write');
    expect(await textOf(demo.page, '#backend')).toMatch(/^Computed on WASM: .*computes on the CPU/);
    const onCpu = await readColumns(demo.page);
    for (const side of ['original', 'compressed'] as const) {
      expect(onGpu[side].shared + onGpu[side].own).toBe(onCpu[side].shared + onCpu[side].own);
      expect(onGpu[side].contextBytes).toBe(onCpu[side].contextBytes);
    }
    expectNoMishap(demo);
  });
});
