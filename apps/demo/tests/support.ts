import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import axe, { type AxeResults } from 'axe-core';
import type { Browser, Page } from 'playwright-core';
import { build } from 'vite';
import { serveDirectory } from '../../cli/src/serve-directory.ts';

export interface ServedPage {
  url: string;
  close(): Promise<void>;
}

/** Builds the page into a folder of its own and serves it as `kvlr demo` does. */
export async function serveBuiltPage(): Promise<ServedPage> {
  const directory = await mkdtemp(join(tmpdir(), 'kvlr-demo-'));
  await build({
    configFile: fileURLToPath(new URL('../vite.config.ts', import.meta.url)),
    logLevel: 'error',
    build: { outDir: directory, emptyOutDir: true },
  });
  const server = await serveDirectory(directory, 0);
  return {
    url: server.url,
    close: async () => {
      await server.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export interface OpenDemo {
  page: Page;
  /** Errors of the console, uncaught exceptions and failed requests so far. */
  problems: string[];
  /** Addresses outside the page's origin that were asked for. */
  foreignRequests: string[];
}

/** Opens the page and keeps watch over what must not happen. */
export async function openDemo(browser: Browser, url: string, query: string): Promise<OpenDemo> {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 } });
  const page = await context.newPage();
  const { origin } = new URL(url);
  const problems: string[] = [];
  const foreignRequests: string[] = [];
  context.on('request', (request) => {
    const requested = request.url();
    if (/^https?:/.test(requested) && new URL(requested).origin !== origin) foreignRequests.push(requested);
  });
  context.on('requestfailed', (request) => problems.push(`failed: ${request.url()}`));
  page.on('pageerror', (error) => problems.push(`uncaught: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(`console: ${message.text()}`);
  });
  await page.goto(url + query);
  return { page, problems, foreignRequests };
}

/** What a visitor reads off one column. */
interface ColumnReading {
  bytesPerToken: number;
  contextTokens: number;
  contextBytes: number;
  perplexity: number;
  tokensPerSecond: number;
  text: string;
  /** How many times the text grew while the model was writing. */
  growths: number;
}

/** Presses the button and waits until both models have written. Throws with the page's own message when it shows one. */
export async function compressAndCompare(page: Page): Promise<Record<'original' | 'compressed', ColumnReading>> {
  await page.evaluate(() => {
    for (const written of document.querySelectorAll<HTMLElement>('.written')) {
      const count = () => {
        written.dataset.growths = `${Number(written.dataset.growths ?? 0) + 1}`;
      };
      new MutationObserver(count).observe(written, { childList: true });
    }
  });
  await page.click('#compress');
  // The page goes from the compression to the writing by itself: it is idle only when both are done. The test's own time limits it.
  await page.waitForFunction(() => document.body.dataset.running === '', undefined, { timeout: 0 });
  if (await page.locator('#failure').isVisible()) {
    throw new Error(`the page failed: ${await page.locator('#failure').textContent()}`);
  }
  return { original: await readColumn(page, 'original'), compressed: await readColumn(page, 'compressed') };
}

async function readColumn(page: Page, side: string): Promise<ColumnReading> {
  const text = async (selector: string) => (await page.locator(`#column-${side} ${selector}`).textContent()) ?? '';
  const number = async (selector: string) => {
    const found = (await text(selector)).replaceAll(',', '').match(/\d+(\.\d+)?/);
    return Number(found?.[0]);
  };
  return {
    bytesPerToken: await number('.bytes-per-token'),
    contextTokens: await number('.context'),
    contextBytes: await number('.bytes'),
    perplexity: await number('.perplexity'),
    tokensPerSecond: await number('.speed'),
    text: await text('.written'),
    growths: Number(await page.locator(`#column-${side} .written`).getAttribute('data-growths')),
  };
}

/** Serious and critical violations that axe finds in the page as it stands, as `rule: element`. */
export async function findAccessibilityProblems(page: Page): Promise<string[]> {
  // Not as a script of the page, which its policy forbids.
  await page.evaluate(axe.source);
  const results = await page.evaluate(() =>
    (globalThis as unknown as { axe: { run(): Promise<AxeResults> } }).axe.run(),
  );
  return results.violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) =>
      nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')} ${failureSummary}`),
    );
}
