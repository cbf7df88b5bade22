import { readFile } from 'node:fs/promises';
import type { BenchmarkReport } from '@kvlr/report';
import { afterAll, describe, expect, it } from 'vitest';
import { runCli, TinyRun } from './support/tiny-run.ts';

const tiny = await TinyRun.create();
afterAll(() => tiny.remove());
const { model } = tiny;

const quick = ['--contexts', '8,40', '--prompt', '8', '--tokens', '2', '--rounds', '2', '--backend', 'cpu'];

async function benchJson(...more: string[]): Promise<BenchmarkReport> {
  const outcome = await runCli(['bench', model, ...quick, ...more, '--json']);
  expect(outcome.exitCode, outcome.error).toBe(0);
  return JSON.parse(outcome.out);
}

describe('kvlr bench', () => {
  it('prints its defaults as they are typed', async () => {
    const { out } = await runCli(['bench', '--help']);
    expect(out).toMatch(/--batch <list> .*\(default: 1\)/);
    expect(out).not.toMatch(/default: \[/);
  });

  it('times a checkpoint beside random weights with fewer KV heads', async () => {
    const report = await benchJson('--memory', '4MB', '--cache-dtype', 'f16');
    expect(report.models.map(({ name }) => name)).toEqual([
      model,
      '1/2 of the KV heads, random weights',
      '1/4 of the KV heads, random weights',
    ]);
    // 2 layers x (keys + values) x 8 numbers x 2 bytes, by heads.
    expect(report.models.map(({ cacheBytesPerToken }) => cacheBytesPerToken)).toEqual(
      [4, 2, 1].map((heads) => heads * 64),
    );
    expect(report.decodes).toHaveLength(2 * 3);
    expect(report.prefills).toHaveLength(3);
    expect(report.largestBatches?.memoryBytes).toBe(4e6);
    expect(report.environment.machine).toBeTruthy();
  });

  it('times a checkpoint beside another, and writes Markdown', async () => {
    const output = tiny.path('speed.md');
    const { exitCode, out, error } = await runCli([
      'bench',
      model,
      ...quick,
      '--against',
      model,
      '-o',
      output,
      '--note',
      'Idle.',
    ]);
    expect(exitCode, error).toBe(0);
    for (const part of ['Prefill', 'Decode', 'What one decode step takes', output]) expect(out).toContain(part);
    const markdown = await readFile(output, 'utf8');
    expect(markdown).toContain('## What one decode step takes');
    expect(markdown).toContain('> Idle.');
  });

  it('writes JSON for several sequences at once', async () => {
    const output = tiny.path('speed.json');
    await benchJson('--batch', '1,3', '--contexts', '8', '--shares', '1/4', '-o', output);
    const report: BenchmarkReport = JSON.parse(await readFile(output, 'utf8'));
    expect(report.decodes.map(({ batch }) => batch)).toEqual([1, 1, 3, 3]);
  });

  it('times the largest batch that fits', async () => {
    const { largestBatches } = await benchJson(
      '--contexts',
      '8',
      '--shares',
      '1/4',
      '--memory',
      '400kB',
      '--largest-batch',
    );
    const [whole, quarter] = largestBatches!.rows;
    expect(quarter!.batch).toBeGreaterThan(2 * whole!.batch);
    expect(quarter!.speedup?.rounds).toBe(2);
  });

  it.each([
    [['--output', 'speed.txt'], 2, 'expected -o to end in .json or .md'],
    [['--shape', 'smollm2-135m'], 2, 'expected CKPT or --shape'],
    [['--contexts', '1000'], 2, 'expected at most 128 positions'],
    [['--largest-batch'], 2, 'expected --memory with --largest-batch'],
    [['--weights', 'f64'], 2, 'Allowed choices are'],
  ])('refuses %j', async (more, code, message) => {
    const { exitCode, error } = await runCli(['bench', model, ...quick, ...more]);
    expect(exitCode).toBe(code);
    expect(error).toContain(message);
  });
});
