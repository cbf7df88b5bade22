import { expect, it } from 'vitest';
import { z } from 'zod';
// By path: the test kit depends on this package, so this package cannot depend on it.
import { expectKvlrError } from '../../../testkit/src/expect-kvlr-error.ts';
import { isModulePath, Registry } from './registry.ts';

const doublers = new Registry<{ factor: number }>({
  kind: 'multiplier',
  entries: { twice: { factor: 2 } },
  schema: z.object({ factor: z.number() }),
  example: 'Write: export default { factor: 3 };',
});
const load = (moduleNamespace: unknown) => async (label: string) => ({ moduleNamespace, label, hash: 'abc' });

it('gives what is built in by name, and lists it', async () => {
  expect(doublers.names).toEqual(['twice']);
  expect(await doublers.resolve('twice')).toEqual({ value: { factor: 2 } });
  expectKvlrError(() => doublers.get('thrice'), 'usage', 'expected a multiplier: one of twice, got "thrice"');
  expectKvlrError(() => doublers.get('toString'), 'usage');
});

it('suggests the name that is spelled nearly so', () => {
  expect(expectKvlrError(() => doublers.get('twise'), 'usage').hint).toMatch(/^Did you mean twice\? Name one/);
  expect(expectKvlrError(() => doublers.get('half'), 'usage').hint).toMatch(/^Name one/);
});

it('takes the default export of a module, with the hash of its source', async () => {
  const module = load({ default: { factor: 3 } });
  expect(await doublers.resolve('./mine.mjs', module)).toEqual({ value: { factor: 3 }, hash: 'abc' });
});

it.each([
  ['no default export', {}, 'a default export that is a multiplier: '],
  ['a wrong field', { default: { factor: 'three' } }, 'multiplier; factor: '],
])('names the module at fault: %s', async (_, namespace, text) => {
  const error = await expectKvlrError(() => doublers.resolve('./mine.mjs', load(namespace)), 'plugin-invalid', text);
  expect(error).toMatchObject({ where: { module: './mine.mjs' }, hint: 'Write: export default { factor: 3 };' });
});

it.each([
  ['./mine.mjs', true],
  ['/home/me/mine.js', true],
  ['C:\\mine.mjs', true],
  ['mine.mjs', true],
  ['contiguous', false],
  ['rope-averaged', false],
])('knows a path from a name: %s', (text, isPath) => {
  expect(isModulePath(text)).toBe(isPath);
});
