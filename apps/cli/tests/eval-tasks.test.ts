import { readdir, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli, runJson, TinyRun } from './support/tiny-run.ts';

const tiny = await TinyRun.create();
const other = await TinyRun.create({ seed: 9 });
afterAll(() => Promise.all([tiny.remove(), other.remove()]));

const task = tiny.path('birds.yaml');
beforeAll(async () => {
  const rows = ['wren', 'gull', 'crow'].map((bird, label) => ({ bird, options: ['hedge', 'shore', 'field'], label }));
  await writeFile(tiny.path('birds.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'));
  const yaml = `
task: birds
dataset_path: json
dataset_kwargs: { data_files: { test: birds.jsonl } }
test_split: test
output_type: multiple_choice
doc_to_text: "A {{bird}} lives in the"
doc_to_choice: options
doc_to_target: label
metric_list: [{ metric: acc }, { metric: acc_norm }]
metadata: { version: 2 }`;
  await writeFile(task, yaml);
});

const evaluate = (...more: string[]) => tiny.evaluate(tiny.model, ...more);

describe('kvlr eval --tasks', () => {
  it('asks a task of two models, and writes results, samples and a page', async () => {
    const output = tiny.path('results');
    const asked = evaluate('--tasks', task, '--against', other.model, '--num-fewshot', '1', '-o', output);
    const files = await runJson(asked);
    expect(files).toHaveLength(2);
    expect(files[1]).toMatchObject({
      results: { birds: { alias: 'birds', sample_len: 3, 'acc,none': expect.any(Number) } },
      versions: { birds: 2 },
      'n-shot': { birds: 1 },
      'n-samples': { birds: { original: 3, effective: 3 } },
      task_hashes: files[0].task_hashes,
    });
    const folder = `${output}/${files[1].model_name_sanitized}`;
    expect(await readdir(folder)).toEqual(['results.json', 'samples_birds.jsonl']);
    const samples = (await readFile(`${folder}/samples_birds.jsonl`, 'utf8')).trim().split('\n');
    expect(JSON.parse(samples[0]!).arguments[0][0]).toMatch(
      /^A (gull|crow) lives in the (shore|field)\n\nA wren lives/,
    );
    expect(await readFile(`${output}/report.html`, 'utf8')).toContain('Quality against the bytes of the cache');

    const again = await runCli(asked);
    expect(again.error).toContain('6 answers are there from an earlier run.');
    expect(again.out).toMatch(/^birds +2 +none +1 +3 +acc ↑ .* 0\.\d{4} ± 0\.\d{4}$/m);
  });

  it('names the cache that was asked for in the results', async () => {
    const cache = 'f16+policy=sinks+keep=25%';
    const files = await runJson(
      evaluate('--tasks', task, '--cache', cache, 'klt-2', '--calibration', tiny.calibration),
    );
    expect(files.map(({ kvlr }: { kvlr: object }) => kvlr)).toEqual([
      { cache: {} },
      { cache: { name: cache } },
      { cache: { name: 'klt-2', fittedTo: expect.stringMatching(/^[0-9a-f]{64}$/) } },
    ]);
  });

  it('says of a limit that it is for trying things out', async () => {
    const { out } = await runCli(evaluate('--tasks', task, '--limit', '2', '--cache-dtype', 'int4'));
    expect(out).toMatch(/not for\s+results/);
    expect(out).toMatch(/\(int4\)/);
  });
});

it('kvlr eval --stride scores whole texts, each token once, whatever the stride', async () => {
  const rows = await Promise.all(['32', '8'].map((stride) => runJson(evaluate('--stride', stride))));
  const [[disjoint], [sliding]] = rows;
  expect([sliding.tokenCount, sliding.byteCount]).toEqual([disjoint.tokenCount, disjoint.byteCount]);
  expect(disjoint.bitsPerByte.value).toBeCloseTo(Math.log2(disjoint.bytePerplexity.value), 9);
  const [tokens, bytes] = [disjoint.perplexity.value, disjoint.bytePerplexity.value].map(Math.log);
  expect(tokens! * disjoint.tokenCount).toBeCloseTo(bytes! * disjoint.byteCount, 6);
});

it('kvlr eval --long-context sets caches side by side', async () => {
  const { rows } = await runJson(evaluate('--long-context', '--lengths', '48', '--probes', '2', '--cache-window', '8'));
  expect(rows.map(({ name }: { name: string }) => name)).toEqual([tiny.model, `${tiny.model} (last 8)`]);
  expect(rows[0].cells.map(({ length, depth }: { length: number; depth: number }) => [length, depth])).toEqual([
    [48, 0],
    [48, 0.5],
    [48, 0.9],
  ]);
  // 8 tokens and 4 sinks of 48.
  expect(rows[1].cacheBytes).toBe(rows[0].cacheBytes / 4);
});

it('kvlr eval --long-context fits caches, sets each row beside the first, and goes on where it was cut', async () => {
  const output = tiny.path('remembered');
  const asked = evaluate(
    ...['--long-context', '--lengths', '48', '--probes', '2', '--calibration', tiny.calibration, '-o', output],
    ...['--cache', 'klt-2', 'f16+policy=snapkv+keep=50%'],
  );
  const { rows } = await runJson(asked);
  const [base, fitted, shortened] = rows;
  expect(base.change).toBeUndefined();
  expect(fitted.cacheBytes).toBeLessThan(base.cacheBytes / 4);
  const near = base.positions[0].perplexity.value;
  expect(fitted.change.perplexities[0].value).toBeCloseTo(fitted.positions[0].perplexity.value / near, 9);
  expect(shortened.change.copyGains).toHaveLength(3);
  expect(await readFile(`${output}/long-context.md`, 'utf8')).toMatch(/^## Change of that perplexity against/m);

  const again = await runCli([...asked, '--json']);
  expect(again.error).toMatch(/\d+ answers are there from an earlier run/);
  expect(JSON.parse(again.out).rows).toEqual(JSON.parse(JSON.stringify(rows)));
});

it.each([
  [['--limit', '3'], '--tasks with --limit'],
  [['-o', 'out'], '--tasks or --long-context with --output'],
  [['--probes', '3'], '--long-context with --probes'],
  [['--cache-dtype', 'int8', '--against', 'embedded'], '--stride with --cache-dtype beside --against'],
  [['--tasks', 'piqa', '--long-context'], 'one of --tasks, --long-context'],
  [['--tasks', 'piqqa'], 'expected a task: one of arc_challenge'],
])('refuses %j', async (more, message) => {
  const { exitCode, error } = await runCli(evaluate(...more));
  expect([exitCode, error]).toEqual([2, expect.stringContaining(message)]);
});
