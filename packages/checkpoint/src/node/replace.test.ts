import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expectKvlrError } from '@kvlr/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readMarker } from './claim.ts';
import { checkFreeSpace, fillFile, replacePath, requireWritable } from './replace.ts';

let parent: string;
let target: string;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'kvlr-replace-'));
  target = join(parent, 'model.gguf');
});
afterEach(() => rm(parent, { recursive: true }));

describe('replacePath', () => {
  // /dev/full is Linux's file whose disk is always full: the error comes from the kernel.
  it.runIf(process.platform === 'linux')('turns a full disk into a typed error and leaves nothing behind', async () => {
    const previous = '{"writtenBy": "kvlr"}';
    await writeFile(target, previous);
    const filling = replacePath(target, { kind: 'file', overwrite: true }, async (temporary) => {
      await fillFile(temporary, (sink) => sink.write(new Uint8Array(10)));
      await fillFile('/dev/full', (sink) => sink.write(new Uint8Array(10)));
    });
    await expectKvlrError(() => filling, 'disk-full', 'ENOSPC');
    expect(await readdir(parent)).toEqual(['model.gguf']);
    expect(await readFile(target, 'utf8')).toBe(previous);
  });

  it('makes the missing parents of a directory, and refuses a file without', async () => {
    const nested = join(parent, 'a', 'b', 'model');
    await replacePath(nested, { kind: 'directory' }, (temporary) =>
      fillFile(join(temporary, 'file'), (sink) => sink.write(Uint8Array.of(104, 105))),
    );
    expect(await readFile(join(nested, 'file'), 'utf8')).toBe('hi');
    expect(await readdir(join(parent, 'a', 'b'))).toEqual(['model']);
    expect((await readMarker(nested))?.files).toEqual(['file']);
    const missing = join(parent, 'c');
    await expectKvlrError(
      () => replacePath(join(missing, 'file'), { kind: 'file' }, async () => {}),
      'file-missing',
      missing,
    );
    expect(await readdir(parent)).toEqual(['a']);
  });

  it('does not replace what appeared meanwhile', async () => {
    const racing = replacePath(target, { kind: 'file' }, async (temporary) => {
      await writeFile(temporary, 'mine');
      await writeFile(target, 'theirs');
    });
    await expectKvlrError(() => racing, 'file-exists', target);
    expect(await readFile(target, 'utf8')).toBe('theirs');
    expect(await readdir(parent)).toEqual(['model.gguf']);
  });

  it.each([
    ['file', 'file-missing'],
    ['directory', 'write-failed'],
  ] as const)('reports a place where no %s can be', async (kind, code) => {
    await writeFile(target, 'a file, not a directory');
    const replacing = replacePath(join(target, 'x'), { kind }, async () => {});
    await expectKvlrError(() => replacing, code, target);
  });
});

describe('a file system in which nothing can be made', () => {
  it.runIf(process.platform === 'linux').each(['file', 'directory'] as const)('takes no %s', async (kind) => {
    const replacing = replacePath('/proc/kvlr', { kind }, () => expect.unreachable());
    await expectKvlrError(() => replacing, 'write-failed', '/proc');
  });
});

describe('checkFreeSpace', () => {
  it('refuses before anything is written when the disk is too small', async () => {
    await checkFreeSpace(target, 1);
    await expectKvlrError(() => checkFreeSpace(target, 1e18), 'disk-full', String(1e18));
  });
});

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
    await expectKvlrError(() => requireWritable(join(file, 'x')), 'write-failed', file);
  });

  it.runIf(process.platform === 'linux')('refuses a file system in which nothing can be made', async () => {
    await expectKvlrError(() => requireWritable('/proc/kvlr/out'), 'write-failed', '/proc/kvlr/out');
  });
});
