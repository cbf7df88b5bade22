import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { examplePath, runCli, TinyRun } from './support/tiny-run.ts';

const example = examplePath('budgets/taper.mjs');

const tiny = await TinyRun.create({ numLayers: 6 });
afterAll(() => tiny.remove());
const { model, directory } = tiny;

const compress = (output: string, ...more: string[]) => runCli(tiny.compress(output, '--recover', 'none', ...more));

describe('kvlr compress --budget', () => {
  it('takes a budget by path; its result says which engines load it, and goes to llama.cpp as deci', async () => {
    const outcome = await compress('tapered', '--budget', example);
    expect([outcome.exitCode, outcome.error.includes('KV heads by layer: 4, 1, 1, 1, 1, 4')]).toEqual([0, true]);
    const spoken = outcome.out.replace(/\s+/g, ' ');
    expect(spoken).toContain('KV heads by layer: 4, 1, 1, 1, 1, 4');
    expect(spoken).toContain('LlamaForCausalLM of transformers expects one count for all layers and cannot load this');
    const output = join(directory, 'tapered');
    const read = (...names: string[]) => readFile(join(output, ...names), 'utf8');
    const config = JSON.parse(await read('config.json'));
    expect(config.model_type).toBe('kvlr');
    expect(config.kvlr.layers.map((layer: { key_slots: number }) => layer.key_slots)).toEqual([4, 1, 1, 1, 1, 4]);
    const card = await read('README.md');
    expect(card).toContain('cannot load');
    expect(card).toMatch(/budget\.policy +\| taper\.mjs +\|/);
    expect(card).toMatch(/source\.budgetHash +\| [0-9a-f]{64} +\|/);
    expect(await read('recipe.yaml')).toMatch(/budget:\n {2}policy: .*taper.mjs/);
    expect(await read('..', 'tapered.run', 'report.html')).toContain('KV heads by layer: 4, 1, 1, 1, 1, 4');

    const file = join(directory, 'tapered.gguf');
    expect((await runCli(['export', output, '--gguf', file])).exitCode).toBe(0);
    expect((await readFile(file)).subarray(0, 200).includes('deci')).toBe(true);
  });

  it('is compared with others, as is a module of one’s own', async () => {
    const output = join(directory, 'compared');
    const { exitCode, out } = await runCli([
      ...tiny.compare('compared', '--recover', 'none'),
      ...['--budgets', 'uniform', example],
    ]);
    expect(exitCode).toBe(0);
    expect(out).toContain('Against uniform');
    expect(out).toMatch(/2 2 2 2 2 2\n.*4 1 1 1 1 4\n/);
    expect(await readFile(join(output, 'recipe.yaml'), 'utf8')).toContain(`location: ${model}`);
  });

  it('says before the run what the weights decide, and what is left to the run', async () => {
    const progressive = await compress('none', '--budget', 'progressive', '--dry-run');
    expect(progressive.out).toMatch(/Budget {2}KV heads by layer: 4(, \d)+ \(progressive, the total of 2 KV heads/);
    const measured = await compress('none', '--budget', 'measured', '--dry-run');
    expect(measured.out).toContain('Budget  decided layer by layer during the run (measured,');
    expect((await compress('none', '--dry-run')).out).not.toContain('Budget');
  });

  it.each([
    ['a name that is none', () => 'fair', '', 'expected a budget policy: one of uniform'],
    [
      'a module without a policy',
      () => tiny.path('own.mjs'),
      'export default 4;',
      'expected a default export that is a budget policy',
    ],
  ])('refuses %s', async (_, budget, source, message) => {
    await writeFile(tiny.path('own.mjs'), source);
    for (const more of [[], ['--dry-run']]) {
      const outcome = await compress('refused', '--budget', budget(), ...more);
      expect(outcome.exitCode).not.toBe(0);
      expect(outcome.error.replace(/\s+/g, ' ')).toContain(message);
    }
  });

  it('names the module whose answer does not fit', async () => {
    const path = join(directory, 'greedy.mjs');
    await writeFile(path, 'export default ({ shape }) => Array(shape.numLayers).fill(4);');
    const outcome = await compress('greedy', '--budget', path);
    expect(outcome.exitCode).toBe(1);
    expect(outcome.error.replace(/\s+/g, ' ')).toMatch(/greedy.mjs: expected keys and values .* at most 24, got 48/);
  });
});

describe('kvlr export --gguf', () => {
  it('does not make directories that are not there', async () => {
    const outcome = await runCli(['export', model, '--gguf', join(directory, 'mistyped', 'model.gguf')]);
    expect(outcome.exitCode).toBe(1);
    expect(outcome.error).toContain('expected a directory at');
  });
});
