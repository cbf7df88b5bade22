import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MemoryRunStore, type RunStore } from '../run/store.ts';
import { DirectoryRunStore } from './directory-run-store.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

describe('run stores', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kvlr-store-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  const stores: [string, () => RunStore][] = [
    ['memory', () => new MemoryRunStore()],
    ['directory', () => new DirectoryRunStore(join(directory, 'run'))],
  ];
  it.each(stores)('keep, list, log and forget (%s)', async (_, create) => {
    const store = create();
    expect(await store.list()).toEqual([]);
    expect(await store.read('eval/results.json')).toBeUndefined();
    await store.write('eval/results.json', bytes('1'));
    await store.write('eval/results.json', bytes('2'));
    await store.write('5-recovery/layer-0', bytes('a'));
    await store.appendLine('events.jsonl', 'one');
    await store.appendLine('events.jsonl', 'two');
    expect(new TextDecoder().decode(await store.read('eval/results.json'))).toBe('2');
    expect(new TextDecoder().decode(await store.read('events.jsonl'))).toBe('one\ntwo\n');
    expect(await store.list()).toEqual(['5-recovery/layer-0', 'eval/results.json', 'events.jsonl']);
    await store.remove('5-recovery/');
    expect(await store.list()).toEqual(['eval/results.json', 'events.jsonl']);
  });

  it('leaves the old entry and no debris when a write fails', async () => {
    const store = new DirectoryRunStore(directory);
    await store.write('value', bytes('old'));
    // The name beside the final one is taken by a directory, so that writing there fails.
    await mkdir(join(directory, 'value.partial'));
    await writeFile(join(directory, 'value.partial', 'x'), '');
    await expect(store.write('value', bytes('new'))).rejects.toMatchObject({ code: 'write-failed' });
    expect(new TextDecoder().decode(await store.read('value'))).toBe('old');
  });

  it('names a full disk', async () => {
    await symlink('/dev/full', join(directory, 'full'));
    const store = new DirectoryRunStore(directory);
    await expect(store.appendLine('full', 'one')).rejects.toMatchObject({
      code: 'disk-full',
      data: { file: join(directory, 'full') },
    });
  });

  it('goes on where a killed run stopped: half-written entries go, a line that was cut is ended', async () => {
    await new DirectoryRunStore(directory).write('a/value', bytes('1'));
    await writeFile(join(directory, 'a', 'other.partial'), 'half');
    await writeFile(join(directory, 'events.jsonl'), '{"cut');
    const store = new DirectoryRunStore(directory);
    await store.appendLine('events.jsonl', '{}');
    expect(new TextDecoder().decode(await store.read('events.jsonl'))).toBe('{"cut\n{}\n');
    expect(await readdir(join(directory, 'a'))).toEqual(['value']);
    expect(await store.list()).toEqual(['a/value', 'events.jsonl']);
  });
});
