import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runCli, runJson, runToError, TinyRun } from './support/tiny-run.ts';

const tiny = await TinyRun.create();
afterAll(() => tiny.remove());

const evalArguments = (...more: string[]) => tiny.evaluate(tiny.model, ...more);

describe('kvlr eval --cache-dtype', () => {
  it('sets caches of fewer bits beside f32', async () => {
    const plain = await runJson(evalArguments());
    const evaluated = await runJson(evalArguments('--cache-dtype', 'f16,int4', '--workers', '1'));
    expect(evaluated.map(({ dtype }: { dtype: string }) => dtype)).toEqual(['f32', 'f16', 'int4']);
    // 2 layers x 2 x 4 slots of 8 numbers, with 4 bytes of scale and offset in front of int4's.
    expect(
      evaluated.map(({ kvlr }: { kvlr: { cache: { bytesPerToken: number } } }) => kvlr.cache.bytesPerToken),
    ).toEqual([32, 16, 8].map((slotBytes) => 16 * slotBytes));
    const [f32, f16, int4] = evaluated.map(({ results }: { results: object }) => Object.values(results)[0]);
    expect(f32['perplexity,none']).toBeCloseTo(plain.results.kvlr_texts['perplexity,none'], 3);
    expect(Math.abs(f16['perplexity_ratio,none'] - 1)).toBeLessThan(1e-3);
    expect(int4['kl_divergence,none']).toBeGreaterThan(10 * Math.abs(f16['kl_divergence,none']));
  });

  it('prints them as a table, with progress elsewhere', async () => {
    const { out, error, exitCode } = await runCli(evalArguments('--cache-dtype', 'int8'));
    expect(exitCode, error).toBe(0);
    expect(out).toMatch(/^f32 +512 B +[\d.]+ ± [\d.]+$/m);
    expect(out).toMatch(/^int8 +192 B .*% ± .*%.* ± .*% ± /m);
    expect(error).toMatch(/^evaluation +Perplexity on 2 windows of 33 tokens\n +done in/m);
  });

  it.each([
    [['--cache-dtype', 'int2'], 'Expected some of f32,f16,'],
    [['--cache-dtype', 'int8', '--against', 'embedded'], '--stride with --cache-dtype beside --against'],
  ])('refuses %j', async (more, message) => {
    const { exitCode, error } = await runCli(evalArguments(...more));
    expect(exitCode).toBe(2);
    expect(error).toContain(message);
  });
});

describe('kvlr eval --part', () => {
  const against = ['--against', tiny.model];
  const part = async (which: string) => {
    const file = join(tiny.directory, `part-${which.replace('/', '-of-')}.json`);
    await writeFile(file, JSON.stringify(await runJson(evalArguments(...against, '--part', which))));
    return file;
  };

  it('takes windows apart, which kvlr merge puts together', async () => {
    const files = [await part('1/2'), await part('2/2')];
    const whole = await runJson(evalArguments(...against));
    const merged = await runJson(['merge', ...files]);
    expect(merged.results.kvlr_texts['perplexity,none']).toBeCloseTo(whole.results.kvlr_texts['perplexity,none'], 9);
    expect(merged.kvlr).toEqual(whole.kvlr);
    const { out } = await runCli(['merge', ...files]);
    expect(out).toMatch(/in 2 parts/);
    const missing = await runToError(['merge', files[0]!]);
    expect([missing.code, missing.message]).toEqual(['run-mismatch', expect.stringContaining('none of 2')]);
  });

  it('refuses parts that are none, and what has no parts', async () => {
    expect((await runCli(evalArguments('--part', '0/2'))).exitCode).toBe(2);
    const tooMany = await runToError(evalArguments('--part', '4/9'));
    expect([tooMany.code, tooMany.message]).toEqual(['invalid-argument', expect.stringContaining('of 2 windows')]);
    const { exitCode, error } = await runCli(evalArguments('--part', '1/2', '--cache-dtype', 'int8'));
    expect([exitCode, error]).toEqual([2, expect.stringContaining('--part with windows of texts')]);
    await writeFile(join(tiny.directory, 'none.json'), '{}');
    expect((await runToError(['merge', join(tiny.directory, 'none.json')])).code).toBe('file-malformed');
  });
});
