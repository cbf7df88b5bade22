import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { runCli, runJson, runToError, TinyRun } from './support/tiny-run.ts';

const tiny = await TinyRun.create();
afterAll(() => tiny.remove());
const at = (name: string) => join(tiny.directory, name);
const windows = ['--windows', '4', '--window-length', '32', '--calibration', tiny.calibration];
const compute = ['--backend', 'cpu', '--engine', 'tfjs', '--workers', '1'];
const calibrate = (part: string, output: string) => [
  ...['calibrate', tiny.model, '--part', part, '-o', at(output)],
  ...windows,
  ...compute,
];

it('gathers statistics in parts, merges them and compresses with them', async () => {
  for (const part of [1, 2]) {
    const { provenance } = await runJson(calibrate(`${part}/2`, `part-${part}`));
    expect(provenance.tokenCount).toBe(64);
  }
  const merged = await runJson(['merge', at('part-1'), at('part-2'), '-o', at('merged')]);
  expect(merged.provenance).toMatchObject({ tokenCount: 128, windowLength: 32 });
  const compress = tiny.compress('small', '--statistics', at('merged'), '--recover', 'none', '--no-eval');
  const { stages, report } = await runJson(compress);
  expect(stages.map(({ stage }: { stage: string }) => stage)).toEqual([
    'inspect',
    'grouping',
    'factors',
    'report',
    'write',
  ]);
  expect(report.result).not.toHaveProperty('perplexity');
});

it('refuses parts that are none, and statistics that are not complete', async () => {
  expect((await runCli(calibrate('3/2', 'part-3'))).exitCode).toBe(2);
  const error = await runToError(['merge', at('part-1'), at('nowhere'), '-o', at('other')]);
  expect([error.code, error.message]).toEqual(['file-missing', expect.stringContaining('nowhere')]);
});
