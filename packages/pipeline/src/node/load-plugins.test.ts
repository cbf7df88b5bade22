import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { compressionMethods } from '@kvlr/compression';
import { expectKvlrError } from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadBudget, loadGrouping, loadMethod } from './load-plugins.ts';

let directory: string;
let written = 0;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kvlr-plugins-'));
});

afterAll(() => rm(directory, { recursive: true }));

async function moduleWith(source: string): Promise<string> {
  const path = join(directory, `mine-${++written}.mjs`);
  await writeFile(path, source);
  return path;
}

const example = (path: string) => resolve(import.meta.dirname, '../../../../examples', path);

describe('names', () => {
  it('are left to the recipe', async () => {
    expect(await loadGrouping('lost-energy')).toBeUndefined();
    expect(await loadBudget('measured')).toBeUndefined();
    expect(await loadMethod('palu')).toBeUndefined();
    expect(await loadMethod({ keys: 'palu', values: 'svd-w' })).toBeUndefined();
  });

  it.each([
    ['grouping strategy', () => loadGrouping('nearest'), /contiguous, .*lost-energy/],
    ['budget policy', () => loadBudget('fair'), /uniform, progressive/],
    ['compression method', () => loadMethod('svd-z'), /mean-pool, .*palu/],
    ['key method', () => loadMethod({ keys: 'svd-z', values: 'svd-w' }), /mean-pool/],
    ['RoPE strategy', () => loadMethod({ ropeStrategy: 'toString', values: 'svd-w' }), /mean-pool/],
    ['value method', () => loadMethod({ keys: 'svd-w', values: '' }), /mean-pool/],
  ])('that are none are refused: a %s', async (kind, work, names) => {
    const error = await expectKvlrError(work, 'usage', names);
    expect(error.message).toContain(`expected a ${kind}`);
  });
});

describe('the examples', () => {
  it('load', async () => {
    expect((await loadGrouping(example('grouping/interleaved.mjs')))?.strategy).toBeTypeOf('function');
    expect((await loadBudget(example('budgets/taper.mjs')))?.policy).toBeTypeOf('function');
    expect((await loadMethod(example('methods/strongest-head.mjs')))?.method).toMatchObject({
      title: 'Strongest head',
      portable: true,
      needsStatistics: false,
    });
  });

  it.each([
    [{ keys: 'keys/strongest-pairs.mjs', values: 'svd-w' }, true],
    [{ keys: 'rope-exact', values: 'values/strongest-coordinates.mjs' }, true],
    [{ ropeStrategy: 'rope-strategies/strongest-coordinates.mjs', values: 'svd-w' }, false],
  ])('load as sides of a method: %j', async (pair, portable) => {
    const paths = Object.fromEntries(
      Object.entries(pair).map(([side, name]) => [side, name.endsWith('.mjs') ? example(name) : name]),
    );
    const { method, hash } = (await loadMethod(paths as { keys: string; values: string }))!;
    expect(method.portable).toBe(portable);
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe('modules', () => {
  it('of one side take named exports beside the function', async () => {
    const path = await moduleWith(`
      export default () => ({});
      export const valueSlots = 'head';
      export const needsStatistics = false;`);
    const { method } = (await loadMethod({ keys: 'svd-w', values: path }))!;
    expect(method).toMatchObject({ valueSlots: 'head', portable: false, needsStatistics: false });
  });

  it('of one side may give a whole method; the other side is that of the name', async () => {
    const path = await moduleWith("export default { title: 'Mine', keys: 'rope-exact', values: 'mean-pool' };");
    const { method } = (await loadMethod({ keys: path, values: 'svd-a' }))!;
    expect(method.keys).toBe(compressionMethods.get('rope-exact').keys);
    expect(method.values).toBe(compressionMethods.get('svd-a').values);
  });

  it.each([
    [
      'a strategy that is no function',
      'grouping',
      'export default 7;',
      /grouping strategy: expected a function, got number/,
    ],
    ['no default export', 'grouping', 'export const groups = [];', /expected a function, got none/],
    [
      'a policy that is no function',
      'budget',
      "export default 'fair';",
      /budget policy: expected a function, got string/,
    ],
    ['a method that is a function', 'method', 'export default () => [];', /compression method: .*expected object/],
    ['no title', 'method', "export default { keys: 'palu', values: 'palu' };", /title: /],
    [
      'no keys',
      'method',
      "export default { title: 'Mine', values: 'palu' };",
      /keys: expected keys or keyFactors, got none/,
    ],
    [
      'keys twice',
      'method',
      "export default { title: 'Mine', keys: 'palu', keyFactors: () => 0, values: 'palu' };",
      /keys: expected keys or keyFactors, got both/,
    ],
    [
      'keys of an unknown name',
      'method',
      "export default { title: 'Mine', keys: 'svd-z', values: 'palu' };",
      /keys: expected a function or one of mean-pool, .* got "svd-z"/,
    ],
    [
      'values that are a number',
      'method',
      "export default { title: 'Mine', keys: 'palu', values: 7 };",
      /values: .* got number/,
    ],
    [
      'needsStatistics in words',
      'method',
      "export default { title: 'Mine', keys: 'palu', values: 'palu', needsStatistics: 'yes' };",
      /needsStatistics: /,
    ],
    [
      'a former name',
      'method',
      "export default { title: 'Mine', keys: 'palu', values: 'palu', layout: 'latent' };",
      /layout: this field is called portable now/,
    ],
    ['words as a side', 'ropeStrategy', "export default 'mla';", /RoPE strategy: .*expected object/],
    [
      'a former name beside a function',
      'ropeStrategy',
      "export default () => 0; export const layout = 'latent';",
      /layout: .*portable/,
    ],
    ['a number as a side', 'values', 'export default 3;', /value method: .*expected object/],
    ['unknown slots', 'values', 'export default () => 0; export const valueSlots = 2;', /valueSlots: /],
    ['a need in words', 'keys', "export default () => 0; export const needsStatistics = 'no';", /needsStatistics: /],
    ['a syntax error', 'budget', 'export default (', /can be imported, got: /],
  ])('are refused by name: %s', async (_, kind, source, message) => {
    const path = await moduleWith(source);
    const load = {
      grouping: () => loadGrouping(path),
      budget: () => loadBudget(path),
      method: () => loadMethod(path),
      keys: () => loadMethod({ keys: path, values: 'svd-w' }),
      ropeStrategy: () => loadMethod({ ropeStrategy: path, values: 'svd-w' }),
      values: () => loadMethod({ keys: 'svd-w', values: path }),
    }[kind]!;
    const error = await expectKvlrError(load, 'plugin-invalid', message);
    expect(error.where.module).toBe(path);
    expect(error.hint).toBeDefined();
  });

  it('that do not exist are missing files', async () => {
    const path = join(directory, 'nowhere.mjs');
    expect((await expectKvlrError(() => loadMethod(path), 'file-missing')).where).toEqual({ file: path });
  });
});
