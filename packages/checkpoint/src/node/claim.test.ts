import { execFile } from 'node:child_process';
import { link, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expectKvlrError } from '@kvlr/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { claimPlace, type PlaceRequest, siblings } from './claim.ts';
import { addressOf } from './lock.ts';
import { createDirectoryFiles } from './open.ts';
import { fillFile, replacePath } from './replace.ts';

let parent: string;
let source: string;
let target: string;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'kvlr-claim-'));
  source = join(parent, 'model');
  target = join(parent, 'out');
  await mkdir(source);
  await writeFile(join(source, 'model.safetensors'), 'weights');
});
afterEach(() => rm(parent, { recursive: true }));

const claim = async (path: string, changed: Partial<PlaceRequest> = {}) => {
  const held = await claimPlace({
    ...{ path, kind: 'directory', overwrite: true, apartFrom: [{ name: 'the model', path: source }] },
    ...changed,
  });
  await held.release();
  return held.path;
};
const writeResult = (path: string, text = 'result') =>
  replacePath(path, { kind: 'directory', overwrite: true }, (partial) =>
    fillFile(join(partial, 'config.json'), (sink) => sink.write(new TextEncoder().encode(text))),
  );

describe('a place of an output', () => {
  it('is apart from the model, through links and by names that begin with dots', async () => {
    await symlink(source, join(parent, 'link'));
    for (const path of ['model', 'model/inside', '.', 'link', 'link/inside', 'out/../model', 'model/..inside']) {
      await expectKvlrError(() => claim(join(parent, path)), 'usage', 'the model');
    }
    expect(await claim(join(parent, '..model'))).toBe(join(parent, '..model'));
    expect(await claim(join(parent, 'model2'))).toBe(join(parent, 'model2'));
  });

  it('keeps whatever kvlr did not write, also when it is told to overwrite', async () => {
    const refused = async (path: string, kind: 'file' | 'directory', found: string) => {
      const error = await expectKvlrError(() => claim(path, { kind, apartFrom: [] }), 'file-exists', found);
      expect(error.data.replaceable).toBe(false);
    };
    await mkdir(target);
    await writeFile(join(target, 'config.json'), '{}');
    await refused(target, 'directory', 'a directory that kvlr did not write');
    await refused(source, 'file', 'a directory');
    await refused(join(source, 'model.safetensors'), 'file', 'a file that kvlr did not write');
    await refused(join(source, 'model.safetensors'), 'directory', 'no directory');
    await link(join(source, 'model.safetensors'), join(parent, 'same'));
    await refused(join(parent, 'same'), 'file', 'a file that kvlr did not write');
    const result = join(parent, 'result');
    await writeResult(result);
    expect(await claim(result)).toBe(result);
    await expectKvlrError(() => claim(result, { overwrite: false }), 'file-exists', 'an earlier result');
    await writeFile(join(result, 'notes.txt'), 'mine');
    await refused(result, 'directory', 'notes.txt');
  });

  it('may be a link to an earlier result, which is replaced behind it, and not one that leads nowhere', async () => {
    await writeResult(join(parent, 'result'));
    await symlink('result', target);
    await writeResult(target, 'new');
    expect(await readFile(join(parent, 'result', 'config.json'), 'utf8')).toBe('new');
    await symlink('nowhere', join(parent, 'dangling'));
    await expectKvlrError(() => claim(join(parent, 'dangling')), 'file-exists', 'nowhere');
    await expectKvlrError(() => claim(join(parent, 'dangling', 'inside')), 'file-exists', 'nowhere');
    await symlink('circle', join(parent, 'circle'));
    await expectKvlrError(() => claim(join(parent, 'circle')), 'file-exists', 'circle');
  });

  it.runIf(process.platform !== 'win32')('is no pipe and no device', async () => {
    await promisify(execFile)('mkfifo', [target]);
    for (const path of [target, '/dev/null']) {
      await expectKvlrError(() => claim(path, { kind: 'file' }), 'file-exists', 'a pipe, socket or device');
      await expectKvlrError(() => claim(path), 'file-exists', 'no directory');
    }
  });

  it('is held by one run at a time', async () => {
    const held = await claimPlace({ path: target, kind: 'directory' });
    await symlink(parent, join(parent, 'self'));
    const error = await expectKvlrError(() => claim(join(parent, 'self', 'out')), 'in-use', 'process');
    expect(error.data.process).toBe(process.pid);
    await held.release();
    await claim(target);
  });

  it('is free again when its holder is killed, and cleared of what that one left', async () => {
    const script = `const server = require('node:net').createServer((socket) => socket.end(String(process.pid)));
      server.listen(ADDRESS, () => console.log('held'));`;
    const killed = execFile(process.execPath, ['-e', script.replace('ADDRESS', JSON.stringify(addressOf(target)))]);
    await new Promise((resolve) => killed.stdout!.once('data', resolve));
    await mkdir(siblings(target).partial);
    const error = await expectKvlrError(() => claim(target), 'in-use');
    expect(error.data.process).toBe(killed.pid);
    const gone = new Promise((resolve) => killed.once('close', resolve));
    killed.kill('SIGKILL');
    await gone;
    expect((await readdir(parent)).some((name) => name.startsWith('.out.partial-'))).toBe(true);
    await claim(target);
    expect((await readdir(parent)).sort()).toEqual(['model']);
  });

  it('gets its predecessor back when a run was killed between the two renames', async () => {
    await writeResult(join(parent, '.out.replaced-01234567'));
    await mkdir(join(parent, '.out.partial-01234567'));
    await claim(target);
    expect((await readdir(parent)).sort()).toEqual(['model', 'out']);
    expect(await readdir(target)).toEqual(['.kvlr', 'config.json']);
  });
});

describe('a directory of a model', () => {
  it.runIf(process.platform !== 'win32')('is read without its pipes and links that lead nowhere', async () => {
    await promisify(execFile)('mkfifo', [join(source, 'pipe.json')]);
    await symlink('nowhere', join(source, 'LICENSE'));
    await symlink('model.safetensors', join(source, 'link.safetensors'));
    const files = createDirectoryFiles(source);
    expect((await files.list()).sort()).toEqual(['link.safetensors', 'model.safetensors']);
    await expectKvlrError(() => files.read('pipe.json'), 'file-missing');
    await expectKvlrError(() => files.read('pipe.json', 0, 1), 'file-missing');
  });
});
