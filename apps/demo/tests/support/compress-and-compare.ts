import type { Page } from 'playwright-core';

/** What a visitor reads off one column. */
export interface ColumnReading {
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
  // The page goes from the compression to the writing by itself: it is idle only when both are done.
  await page.waitForFunction(() => document.body.dataset.running === '', undefined, { timeout: 590_000 });
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
