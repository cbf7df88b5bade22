import { fileURLToPath } from 'node:url';
import { type ModulePage, missingChromium, openModulePage } from '@kvlr/testkit/chromium';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decoderCases, sampleTokens } from '../testing/decoder-cases.ts';
import type * as casesPage from '../testing/decoder-cases-page.ts';
import { expectCaseLogits } from '../testing/expect-case-logits.ts';
import { recordedCases } from '../testing/recorded-cases.ts';

/** What the page has of `decoder-cases-page.ts`. */
declare const testModule: typeof casesPage;

describe.skipIf(missingChromium)(`a packed decoder on WebGPU in Chromium ${missingChromium ?? ''}`, () => {
  let opened: ModulePage;

  beforeAll(async () => {
    opened = await openModulePage(fileURLToPath(new URL('../testing/decoder-cases-page.ts', import.meta.url)));
  });
  afterAll(() => opened?.close());

  it.each(decoderCases)("has the oracle's logits: $name", async (given) => {
    const { logits, dispatches } = await opened.page.evaluate((name) => testModule.runCaseOnGpu(name), given.name);
    await expectCaseLogits(given, logits);
    expect(dispatches).toBeGreaterThan(0);
  });

  it.each(recordedCases)(
    'chooses with recorded steps what single steps choose: $name',
    async ({ name, dispatches }) => {
      const run = (recorded: boolean) =>
        opened.page.evaluate((given) => testModule.runRecordedCase(given.name, given.recorded), { name, recorded });
      const recorded = await run(true);
      expect(recorded).toEqual({ ids: (await run(false)).ids, dispatches });
    },
  );

  it('samples the tokens that plain JavaScript samples', async () => {
    expect(await opened.page.evaluate(() => testModule.sampleTokensOnGpu())).toEqual(await sampleTokens('cpu'));
    expect(opened.problems).toEqual([]);
  });
});
