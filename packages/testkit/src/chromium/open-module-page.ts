import { build } from 'esbuild';
import type { Page } from 'playwright-core';
import { launchChromium } from './launch-chromium.ts';

/** WebGPU is given to secure origins only. Nothing is fetched from this one: the page answers for itself. */
const origin = 'https://kvlr.test/';

export interface ModulePage {
  page: Page;
  /** Uncaught errors and console errors of the page. */
  problems: string[];
  close(): Promise<void>;
}

/**
 * Bundles a TypeScript module with the sources of the workspace and runs it in an empty page of headless Chromium whose WebGPU is
 * SwiftShader. What the module exports are the members of `testModule` there: `page.evaluate(() => testModule.run())`.
 */
export async function openModulePage(entryFile: string): Promise<ModulePage> {
  const bundle = await build({
    entryPoints: [entryFile],
    bundle: true,
    write: false,
    format: 'iife',
    globalName: 'testModule',
    platform: 'browser',
    target: 'es2022',
    conditions: ['@kvlr/source'],
    // Of what the test kit has for Node nothing is left, for its modules have no side effects.
    external: ['node:*'],
    logLevel: 'error',
  });
  const browser = await launchChromium({ webGpu: true });
  try {
    const page = await browser.newPage();
    const problems: string[] = [];
    page.on('pageerror', (error) => problems.push(String(error)));
    page.on('console', (message) => {
      if (message.type() === 'error') problems.push(message.text());
    });
    const body = '<!doctype html><link rel="icon" href="data:,"><title>A page</title>';
    await page.route(`${origin}**`, (route) => route.fulfill({ contentType: 'text/html', body }));
    await page.goto(origin);
    await page.addScriptTag({ content: bundle.outputFiles[0]!.text });
    return { page, problems, close: () => browser.close() };
  } catch (error) {
    await browser.close();
    throw error;
  }
}
