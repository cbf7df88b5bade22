import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import axe, { type AxeResults } from 'axe-core';
import type { Browser, CDPSession, Page } from 'playwright-core';
import { build, mergeConfig } from 'vite';
import { serveDirectory } from '../../cli/src/serve-directory.ts';
import config from '../vite.config.ts';

export interface ServedPage {
  url: string;
  directory: string;
  close(): Promise<void>;
}

/** Builds the page, and the pairs where none are, into a folder of its own and serves it as `kvlr demo` does. */
export async function serveBuiltPage(): Promise<ServedPage> {
  const directory = await mkdtemp(join(tmpdir(), 'kvlr-demo-'));
  await build(
    mergeConfig(config, {
      configFile: false,
      logLevel: 'error',
      build: { outDir: directory, emptyOutDir: true },
    }),
  );
  const server = await serveDirectory(directory, 0);
  return {
    url: server.url,
    directory,
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
  context.on('requestfailed', (request) => {
    const reason = request.failure()?.errorText;
    // What a page was still reading when it is loaded again is given up, and no mishap.
    if (reason !== 'net::ERR_ABORTED') problems.push(`failed: ${request.url()} (${reason})`);
  });
  page.on('pageerror', (error) => problems.push(`uncaught: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(`console: ${message.text()}`);
  });
  await page.goto(url + query);
  return { page, problems, foreignRequests };
}

/** Waits until a piece of work is done: 'write', 'compress', 'open'. Throws with the page's own message when it shows one. */
export async function waitForDone(page: Page, work: string): Promise<void> {
  await page.waitForFunction(
    (name) => document.body.dataset.done === name || document.querySelector('#failure:not([hidden])') !== null,
    work,
    { timeout: 0 },
  );
  if (await page.locator('#failure').isVisible()) {
    throw new Error(`the page failed: ${await page.locator('#failure').textContent()}`);
  }
  await page.evaluate(() => delete document.body.dataset.done);
}

/** What a visitor reads off one column. */
export interface ColumnReading {
  contextTokens: number;
  contextBytes: number;
  tokensPerSecond: number;
  /** What both have in common, and what is the model's own. */
  shared: string;
  own: string;
}

export async function readColumns(page: Page): Promise<Record<'original' | 'compressed', ColumnReading>> {
  return { original: await readColumn(page, 'original'), compressed: await readColumn(page, 'compressed') };
}

async function readColumn(page: Page, side: string): Promise<ColumnReading> {
  const text = async (selector: string) => (await page.locator(`#column-${side} ${selector}`).textContent()) ?? '';
  return {
    contextTokens: numberIn(await text('.context')),
    contextBytes: numberIn(await text('.bytes')),
    tokensPerSecond: numberIn(await text('.speed')),
    shared: await text('.shared'),
    own: (await text('.parting')) + (await text('.apart')),
  };
}

/** The first number in a text. */
export function numberIn(text: string): number {
  return Number(text.replaceAll(',', '').match(/\d+(\.\d+)?/)?.[0]);
}

/** Lets go of files or folders over an element, as a visitor does. */
export async function dropOn(page: Page, selector: string, paths: string[]): Promise<void> {
  await page.locator(selector).scrollIntoViewIfNeeded();
  const { x, y, width, height } = (await page.locator(selector).boundingBox())!;
  const session: CDPSession = await page.context().newCDPSession(page);
  const data = { items: [], files: paths, dragOperationsMask: 1 };
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const) {
    await session.send('Input.dispatchDragEvent', { type, x: x + width / 2, y: y + height / 2, data });
  }
  await session.detach();
}

/** Pictures of the page for people to look at. */
const screenshots = fileURLToPath(new URL('../screenshots', import.meta.url));

export async function takeScreenshot(page: Page, name: string): Promise<void> {
  await mkdir(screenshots, { recursive: true });
  await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true });
}

/** Violations that axe finds in the page as it stands, as `rule: element`. */
export async function findAccessibilityProblems(page: Page): Promise<string[]> {
  // Not as a script of the page, which its policy forbids.
  await page.evaluate(axe.source);
  const results = await page.evaluate(() =>
    (globalThis as unknown as { axe: { run(): Promise<AxeResults> } }).axe.run(),
  );
  return results.violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')} ${failureSummary}`),
  );
}
