import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { expectError } from '../testing/expect-error.ts';
import { requireWritable } from './require-writable.ts';

describe('requireWritable', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kvlr-writable-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it('accepts a directory, and places that can be made in one, and leaves nothing', async () => {
    await requireWritable(directory);
    await requireWritable(join(directory, 'a', 'b'));
    expect(await readdir(directory)).toEqual([]);
  });

  it('refuses a place below a file', async () => {
    const file = join(directory, 'file');
    await writeFile(file, '');
    await expectError(requireWritable(join(file, 'x')), 'write-failed', file);
  });

  it.runIf(process.platform === 'linux')('refuses a file system in which nothing can be made', async () => {
    await expectError(requireWritable('/proc/kvlr/out'), 'write-failed', '/proc/kvlr/out');
  });
});
