import type { KvlrEvent } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { createMemoryFiles } from '../files/files.ts';
import { openSafetensors } from './read.ts';
import { encodeSafetensors } from './write.ts';

const index = 'model.safetensors.index.json';
const [first, second] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];

/** A file with tensors of one number each. */
const weights = (numbers: Record<string, number>) =>
  encodeSafetensors(
    Object.entries(numbers).map(([name, number]) => {
      return { name, dtype: 'F32', shape: [1], bytes: new Uint8Array(Float32Array.of(number).buffer) };
    }),
    { format: 'pt' },
  );
const indexOf = (weightMap: unknown) => JSON.stringify({ weight_map: weightMap });

async function read(contents: Record<string, Uint8Array | string>) {
  const events: KvlrEvent[] = [];
  const source = await openSafetensors(createMemoryFiles(contents), (event) => events.push(event));
  const numbers = await Promise.all(
    source.list().map(async ({ name }) => [name, (await source.readFloat32(name))[0]] as const),
  );
  return { numbers: Object.fromEntries(numbers), notes: events.map((event) => 'message' in event && event.message) };
}

describe('openSafetensors', () => {
  it('takes the whole file where a stale index lies beside it, and says so', async () => {
    const stale = { 'model.safetensors': weights({ a: 1, b: 2 }), [index]: indexOf({ a: first, b: second }) };
    expect(await read(stale)).toEqual({ numbers: { a: 1, b: 2 }, notes: [expect.stringContaining(index)] });
  });

  it('follows an index that names the whole file as one of several', async () => {
    const files = { 'model.safetensors': weights({ a: 1, b: 9 }), 'more.safetensors': weights({ b: 2 }) };
    const indexed = { ...files, [index]: indexOf({ a: 'model.safetensors', b: 'more.safetensors' }) };
    expect(await read(indexed)).toEqual({ numbers: { a: 1, b: 2 }, notes: [] });
  });

  it('takes each tensor from the shard that the index names, with or without metadata', async () => {
    const shards = { [first]: weights({ a: 1 }), [second]: weights({ a: 7, b: 2 }) };
    for (const metadata of [{}, { metadata: {} }, { metadata: { total_size: 8 } }]) {
      const text = JSON.stringify({ ...metadata, weight_map: { a: first, b: second } });
      expect(await read({ ...shards, [index]: text })).toEqual({ numbers: { a: 1, b: 2 }, notes: [] });
    }
  });

  it('reads shards without an index where all of them are there, and says so', async () => {
    const shards = { [first]: weights({ a: 1 }), [second]: weights({ b: 2 }) };
    expect(await read(shards)).toEqual({ numbers: { a: 1, b: 2 }, notes: [expect.stringContaining('2 shards')] });
  });

  it('does not look into other files beside', async () => {
    const files = { 'model.safetensors': weights({ a: 1 }), 'consolidated.safetensors': weights({ x: 1 }) };
    expect(await read(files)).toEqual({ numbers: { a: 1 }, notes: [] });
  });
});

describe('openSafetensors names what lies there', () => {
  const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 269060552\n';
  const cases: [
    what: string,
    contents: Record<string, Uint8Array | string>,
    code: string,
    message: RegExp,
    hint: RegExp,
  ][] = [
    [
      'a shard less than the index lists',
      { [first]: weights({ a: 1 }), [index]: indexOf({ a: first, b: second }) },
      'file-missing',
      /00002-of-00002.*found model-00001/,
      /needs all/,
    ],
    [
      'a shard less than their names say',
      { [first]: weights({ a: 1 }) },
      'file-missing',
      /00002-of-00002.*found model-00001/,
      /needs all/,
    ],
    [
      'one name in two shards without index',
      { [first]: weights({ a: 1 }), [second]: weights({ a: 2 }) },
      'file-malformed',
      /found it in model-00001/,
      /index\.json/,
    ],
    [
      'shards of two models',
      {
        [first]: weights({ a: 1 }),
        [second]: weights({ b: 1 }),
        'other-00001-of-00002.safetensors': weights({ c: 1 }),
      },
      'file-malformed',
      /other-00001/,
      /index\.json/,
    ],
    [
      'a pointer of Git LFS',
      { 'model.safetensors': pointer },
      'file-malformed',
      /model\.safetensors.*Git LFS/,
      /git lfs pull/,
    ],
    [
      'pytorch_model.bin alone',
      { 'pytorch_model.bin': 'PK' },
      'file-missing',
      /found pytorch_model\.bin/,
      /save_pretrained/,
    ],
    [
      'two files of weights',
      { 'a.safetensors': weights({ a: 1 }), 'b.safetensors': weights({ a: 1 }) },
      'file-missing',
      /a\.safetensors, b\.safetensors/,
      /one file/,
    ],
    [
      'an index that names no file',
      { [index]: indexOf({ a: { toString: 1 } }) },
      'file-missing',
      /toString/,
      /needs all/,
    ],
    ['nothing', { 'config.json': '{}' }, 'file-missing', /found none/, /\.safetensors/],
  ];
  it.each(cases)('%s', async (_, contents, code, message, hint) => {
    const error = await expectKvlrError(() => read(contents), code as 'file-missing', message);
    expect(error.hint).toMatch(hint);
  });
});
