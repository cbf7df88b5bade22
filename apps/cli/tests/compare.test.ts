import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { examplePath, runCli, runJson, TinyRun } from './support/tiny-run.ts';

const interleaved = examplePath('grouping/interleaved.mjs');
const strongestHead = examplePath('methods/strongest-head.mjs');

const tiny = await TinyRun.create();
afterAll(() => tiny.remove());
const { directory, model } = tiny;

describe('kvlr compare', () => {
  it('writes one table of methods and ratios', async () => {
    const output = join(directory, 'comparison');
    const wanted = ['--ratios', '1/2,1/8', '--methods', 'mean-pool', strongestHead];
    const argumentList = tiny.compare('comparison', ...wanted);
    const { out, exitCode } = await runCli(argumentList);
    expect(exitCode).toBe(0);
    expect(out).toMatch(/Mean-pool +stock/);
    expect(out).toMatch(/Strongest head +stock/);
    expect(out).toContain('1/8 of 4 KV heads is left out');
    expect(await readdir(output)).toEqual(
      expect.arrayContaining(['comparison.html', 'comparison.json', 'comparison.md', 'comparison.svg']),
    );
    const again = await runCli([...argumentList, '--json']);
    expect(JSON.parse(again.out).error.code).toBe('file-exists');
    expect((await runJson([...argumentList, '--overwrite'])).report.rows).toHaveLength(3);
  });
});

describe('kvlr compare --dry-run', () => {
  it('lists the rows with what they would take, and writes nothing', async () => {
    const argumentList = tiny.compare('dry', '--ratios', '1/2', '--methods', 'mean-pool', 'svd-a', '--dry-run');
    const { out, exitCode } = await runCli(argumentList);
    expect(exitCode).toBe(0);
    expect(out).toMatch(/3 rows of .*: nothing was written/);
    expect(out).toMatch(/SVD-a per layer, 2 KV heads/);
    expect(await readdir(directory)).not.toContain('dry');
    const { rows, seconds } = await runJson(argumentList);
    const sum = rows.reduce((total: number, row: { seconds: number }) => total + row.seconds, 0);
    expect(seconds).toBeGreaterThan(sum);
  });

  it('is refused for what the comparison would be refused for', async () => {
    const absent = tiny.compare('dry', '--methods', 'svd-b', '--dry-run');
    expect(await runCli(absent)).toMatchObject({ exitCode: 2, error: expect.stringContaining('svd-a') });
    const unknown = tiny.compare('dry', '--bytes', 'f17', '--dry-run');
    expect(await runCli(unknown)).toMatchObject({ exitCode: 2, error: expect.stringContaining('f16') });
  });

  it('has the heads of the original among its rows at equal bytes', async () => {
    const dry = tiny.compare('dry', '--ratios', '1/2', '--bytes', 'f16', 'klt-2', '--dry-run');
    const { rows, memoryBytes } = await runJson(dry);
    const [original, ...halves] = rows;
    expect(halves).not.toHaveLength(0);
    expect(original).toMatchObject({ title: 'the original', keyValueHeads: 4 });
    // Their heads are made, and klt is fitted to them.
    for (const half of halves) expect(half.seconds).toBeGreaterThan(original.seconds);
    expect(memoryBytes).toBeGreaterThan(0);
    expect(await readdir(directory)).not.toContain('dry');
  });
});

describe('which rows kvlr compare has', () => {
  const rowsOf = async (...more: string[]) => {
    const { report } = await runJson(tiny.compare('rows', '--overwrite', ...more));
    return report;
  };
  const names = ({ rows }: { rows: { method: string }[] }) => rows.map(({ method }) => method);

  it('are all methods and the recipes behind them with --all, in order with paired differences', async () => {
    const report = await rowsOf('--all', '--windows', '1');
    const stated = ['mean-pool', 'kq-svd', 'palu', 'clover', 'rope-exact-joint', 'rope-averaged'];
    expect(names(report)).toEqual(expect.arrayContaining(stated));
    expect(names(report).slice(-3)).toEqual(['rope-averaged-refit', 'quick', 'default-recipe']);
    expect(report.base.windowCount).toBe(1);
    expect(report.rows.find(({ method }: { method: string }) => method === 'palu').layout).toBe('rebuilt keys');
    expect(report.orders[0].ranks).toHaveLength(report.rows.length);
  });

  it('are methods before and after reconstruction with --initialisations', async () => {
    const report = await rowsOf('--initialisations', 'mean-pool', 'svd-w');
    expect(names(report)).toEqual(['mean-pool', 'mean-pool+light', 'svd-w', 'svd-w+light']);
    expect(report.orders[0].ranks[1].toNext.perplexityRatio.standardError).toBeGreaterThanOrEqual(0);
    const { exitCode, error } = await runCli(['compare', model, '--initialisations', '--recover', 'none']);
    expect(exitCode).toBe(2);
    expect(error).toContain('--recover none');
  });

  it('are refused where options contradict each other', async () => {
    expect((await runCli(['compare', model, '--all', '--methods', 'svd-a'])).exitCode).toBe(2);
    expect((await runCli(['compare', model, '--initialisations', '--groupings'])).exitCode).toBe(2);
  });
});

describe('kvlr compare --groupings', () => {
  it('evaluates named groupings and a module of one’s own', async () => {
    const wanted = ['--recover', 'none', '--groupings', 'lost-keys', interleaved];
    const { report } = await runJson(tiny.compare('groupings', ...wanted));
    expect(report.rows.map(({ method }: { method: string }) => method)).toEqual(['lost-keys', interleaved]);
    for (const { lostEnergy } of report.rows) expect(lostEnergy).toBeGreaterThan(0);
  });

  it('takes methods or groupings, not both', async () => {
    const { exitCode } = await runCli(['compare', model, '--groupings', '--methods', 'svd-a']);
    expect(exitCode).toBe(2);
  });
});
