import { join } from 'node:path';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { afterAll, describe, expect, it } from 'vitest';
import { runCli, runJson, runToError, TinyRun } from './support/tiny-run.ts';

const tiny = await TinyRun.create();
afterAll(() => tiny.remove());
const wide = (name: string, ...more: string[]) =>
  tiny.compress(name, '--keep', '50%', '--recover', 'none', '--head-width', ...more);

describe('kvlr compress --head-width', () => {
  it('keeps the same bytes in fewer and wider heads, and states the price', async () => {
    const { out, exitCode } = await runCli(wide('wide', '2x'));
    expect(exitCode).toBe(0);
    expect(out).toMatch(/KV heads per layer\s+4 of 8\s+1 of 16/);
    expect(out).toMatch(/KV cache per token\s+512 B\s+256 B/);
    expect(out).toMatch(/Parameters\s+[\d,]+\s+[\d,]+\s+\+/);
    expect(out).toMatch(/Attention, products per cached token\s+128\s+256\s+\+100/);
    const checkpoint = await openCheckpointDirectory(join(tiny.directory, 'wide'));
    expect(checkpoint.config).toMatchObject({ model_type: 'llama', head_dim: 16, num_key_value_heads: 1 });
    await checkpoint.close();
  });

  it('takes a width in numbers, or the widest that costs little', async () => {
    const planned = async (width: string) => (await runJson(wide('dry', width, '--dry-run'))).estimate;
    expect(await planned('16')).toMatchObject({ keyValueHeads: 1, headWidth: 2 });
    const { headWidth, price } = await planned('auto');
    expect(headWidth).toBe(2);
    expect(price.parameters.result / price.parameters.source).toBeLessThan(1.1);
    const { out } = await runCli(wide('dry', '2x', '--dry-run'));
    expect(out).toMatch(/1 KV head of 16: nothing was written/);
    expect(out).toMatch(/Cache +256 B a token instead of 512 B\nPrice +[\d,]+ parameters instead of/);
  });

  it.each([
    [['17'], 'usage', 'a multiple of the 8 numbers'],
    [['4x'], 'heads-not-divisible', 'which is 0.5 of 4 times the width'],
    [['2x', '--method', 'mean-pool'], 'invalid-argument', 'for Mean-pool'],
    [['2x', '--budget', 'progressive'], 'recipe-invalid', 'the uniform budget'],
  ])('refuses %j before anything is computed', async (more, code, message) => {
    const error = await runToError(wide('refused', ...more));
    expect([error.code, error.message]).toEqual([code, expect.stringContaining(message)]);
  });

  it('refuses what is no width', async () => {
    expect((await runCli(wide('refused', '2.5x'))).exitCode).toBe(2);
  });
});

describe('kvlr compare --head-widths', () => {
  it('sets widths against each other at equal bytes', async () => {
    const widths = ['--ratios', '1/2', '--head-widths', '1x,2x', '--recover', 'none'];
    const { report } = await runJson(tiny.compare('widths', ...widths));
    const rows: { method: string; keyValueHeads: number; headWidth?: number; bytesPerToken: number }[] = report.rows;
    expect(rows.map(({ method, keyValueHeads, headWidth }) => [method, keyValueHeads, headWidth])).toEqual([
      ['1x', 2, undefined],
      ['2x', 1, 2],
    ]);
    expect(rows[1]!.bytesPerToken).toBe(rows[0]!.bytesPerToken);
    const { out } = await runCli(tiny.compare('widths', '--overwrite', ...widths));
    expect(out).toMatch(/Heads 2 times as wide +stock .* 1 of 16 +2x/);
  });
});
