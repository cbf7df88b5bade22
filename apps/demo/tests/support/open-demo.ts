import type { Browser, Page } from 'playwright-core';

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
