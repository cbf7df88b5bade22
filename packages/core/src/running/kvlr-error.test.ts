import { expect, test } from 'vitest';
import { KvlrError, withPlace } from './kvlr-error.ts';

test('carries code, hint, data and cause', () => {
  const cause = new Error('ENOENT');
  const error = new KvlrError('file-missing', {
    message: 'no a.txt',
    hint: 'Check it.',
    data: { file: 'a.txt' },
    cause,
  });
  expect(error).toMatchObject({ name: 'KvlrError', code: 'file-missing', message: 'no a.txt', hint: 'Check it.' });
  expect(error.data).toEqual({ file: 'a.txt' });
  expect(error.cause).toBe(cause);
  expect(error).toBeInstanceOf(Error);
});

test('is recognised across copies of the package, and nothing else is', () => {
  const ofAnotherCopy = Object.assign(new Error('x'), { [Symbol.for('kvlr.error')]: true });
  expect(KvlrError.isInstance(ofAnotherCopy)).toBe(true);
  for (const value of [new Error('x'), null, undefined, 'kvlr.error', {}])
    expect(KvlrError.isInstance(value)).toBe(false);
});

test('says the place before the sentence, and takes what a caller knows besides', () => {
  const error = new KvlrError('tensor-shape', { message: 'expected [2], got [3]', where: { tensor: 'k' } });
  expect(error.with({ file: 'model.safetensors', layer: 3, tensor: 'another' })).toBe(error);
  expect(error.message).toBe('model.safetensors, layer 3, k: expected [2], got [3]');
  expect(error).toMatchObject({ reason: 'expected [2], got [3]', where: { file: 'model.safetensors', tensor: 'k' } });
  expect(withPlace(error, { module: 'mine.mjs' })).toHaveProperty('where.module', 'mine.mjs');
  expect(withPlace('a string', { layer: 1 })).toBe('a string');
});
