import { readFile } from 'node:fs/promises';
import { referenceModelFiles } from '@kvlr/reference-model';
import { launchChromium, missingChromium } from '@kvlr/testkit/chromium';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  compressAndCompare,
  findAccessibilityProblems,
  type OpenDemo,
  openDemo,
  type ServedPage,
  serveBuiltPage,
} from './support.ts';

let served: ServedPage;
/** 2 x layers x KV heads x head_dim x 4, from the config.json of the model. */
let bytesPerToken: (keptShare: number) => number;

beforeAll(async () => {
  if (missingChromium !== undefined) return;
  served = await serveBuiltPage();
  const config = JSON.parse(await readFile(referenceModelFiles['config.json'], 'utf8'));
  const { num_hidden_layers: layers, num_key_value_heads: heads, head_dim: headDim } = config;
  bytesPerToken = (keptShare) => 2 * layers * heads * keptShare * headDim * 4;
});

afterAll(() => served?.close());

function expectNoMishap({ problems, foreignRequests }: OpenDemo): void {
  expect(problems).toEqual([]);
  expect(foreignRequests).toEqual([]);
}

describe.skipIf(missingChromium)(`the page on WASM ${missingChromium ?? ''}`, () => {
  const tokens = 24;
  let browser: Browser;
  let demo: OpenDemo;

  beforeAll(async () => {
    browser = await launchChromium({ webGpu: false });
    demo = await openDemo(browser, served.url, `?backend=wasm&tokens=${tokens}&calibration=4&window=128`);
  });

  afterAll(() => browser?.close());

  it('compresses to a half, repairs, and lets both write with the exact bytes of their caches', async () => {
    const { original, compressed } = await compressAndCompare(demo.page);
    expect(original.bytesPerToken).toBe(bytesPerToken(1));
    expect(compressed.bytesPerToken).toBe(bytesPerToken(1 / 2));
    for (const column of [original, compressed]) {
      expect(column.contextBytes).toBe(column.contextTokens * column.bytesPerToken);
      expect(column.contextTokens).toBeGreaterThan(tokens);
      expect(column.growths).toBeGreaterThanOrEqual(tokens / 2);
      expect(column.text.trim().split(/\s+/).length).toBeGreaterThan(5);
      expect(column.tokensPerSecond).toBeGreaterThan(0);
    }
    // A quarter more at most: heads merged at random, or weights that are not loaded, are far off.
    expect(compressed.perplexity / original.perplexity).toBeLessThan(1.25);
    expect(await demo.page.locator('#backend').textContent()).toMatch(/^Computed on WASM: as asked/);
    expectNoMishap(demo);
  });

  it('has no serious accessibility problem, in light and in dark', async () => {
    for (const colorScheme of ['light', 'dark'] as const) {
      await demo.page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      expect(await findAccessibilityProblems(demo.page), colorScheme).toEqual([]);
    }
  });

  it('fits a phone', async () => {
    await demo.page.setViewportSize({ width: 360, height: 740 });
    const widths = await demo.page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
    expect(widths[0]).toBe(widths[1]);
  });

  it('keeps the focus of the keyboard on the button in place of the one that was pressed', async () => {
    const { page } = demo;
    const focused = () => page.evaluate(() => document.activeElement?.id);
    await page.focus('#generate');
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.body.dataset.running === 'generate');
    expect(await focused()).toBe('stop-generate');
    await page.waitForFunction(() => document.body.dataset.running === '');
    expect(await focused()).toBe('generate');
  });

  it('stops when asked, and compresses to a quarter on the statistics it has', async () => {
    const { page } = demo;
    await page.setViewportSize({ width: 1200, height: 900 });
    await page.click('#compress');
    await page.click('#stop-compress');
    await page.waitForFunction(() => document.querySelector('#status')!.textContent === 'Stopped.');
    await page.check('[name=keep][value=quarter]', { force: true });
    await page.check('[name=repair][value=none]', { force: true });
    const { original, compressed } = await compressAndCompare(page);
    expect(original.bytesPerToken).toBe(bytesPerToken(1));
    expect(compressed.bytesPerToken).toBe(bytesPerToken(1 / 4));
    expect(await page.locator('#stages li').nth(1).textContent()).toContain('kept from before');
    expectNoMishap(demo);
  });

  it('says how to go on when WebGPU is asked for and does not answer', async () => {
    const { page } = await openDemo(browser, served.url, '?backend=webgpu&recovery=none');
    await page.click('#compress');
    await page.waitForSelector('#failure:not([hidden])');
    expect(await page.locator('#failure-message').textContent()).toContain('WebGPU');
    expect(await page.locator('#failure-hint').textContent()).toContain('Choose WASM or auto');
    expect(await page.locator('#compress').isEnabled()).toBe(true);
    await page.close();
  });
});

describe.skipIf(missingChromium)(`the page on WebGPU, computed by SwiftShader ${missingChromium ?? ''}`, () => {
  let browser: Browser;

  beforeAll(async () => {
    browser = await launchChromium({ webGpu: true });
  });

  afterAll(() => browser?.close());

  it('compresses to a half and lets both write with the exact bytes of their caches', async () => {
    const query = '?backend=webgpu&recovery=none&tokens=8&calibration=1&window=16&evaluation=1';
    const demo = await openDemo(browser, served.url, query);
    const { original, compressed } = await compressAndCompare(demo.page);
    expect(original.bytesPerToken).toBe(bytesPerToken(1));
    expect(compressed.bytesPerToken).toBe(bytesPerToken(1 / 2));
    for (const column of [original, compressed]) {
      expect(column.contextBytes).toBe(column.contextTokens * column.bytesPerToken);
      expect(column.growths).toBeGreaterThanOrEqual(8);
      expect(column.perplexity).toBeGreaterThan(1);
    }
    expect(await demo.page.locator('#backend').textContent()).toMatch(/^Computed on WebGPU: as asked, on .*software/);
    expectNoMishap(demo);
  });

  it('passes over a WebGPU that the CPU computes when the choice is left to it, and says so', async () => {
    const demo = await openDemo(browser, served.url, '?recovery=none&tokens=4&calibration=1&window=16&evaluation=1');
    await compressAndCompare(demo.page);
    expect(await demo.page.locator('#backend').textContent()).toMatch(/^Computed on WASM: .*computes on the CPU/);
    expectNoMishap(demo);
  });
});
