import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expectKvlrError } from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint } from '../model/open.ts';
import { createDirectoryFiles } from '../node/open.ts';
import { type FileContents, tinyCheckpointFiles } from '../testing/tiny-checkpoint-files.ts';
import type { CheckpointFiles } from './files.ts';
import { createBrowserFiles, createMemoryFiles } from './files.ts';
import { createUrlFiles } from './url.ts';

let contents: FileContents;
let directory: string;
let server: Server;
let requests: string[] = [];

/** Serves the tiny checkpoint below /ranges/ with range support, below /plain/ without. */
beforeAll(async () => {
  contents = await tinyCheckpointFiles();
  directory = await mkdtemp(join(tmpdir(), 'kvlr-files-'));
  for (const [name, content] of Object.entries(contents)) await writeFile(join(directory, name), content);
  server = createServer((request, response) => {
    const [, mode, name] = request.url!.split('/');
    requests.push(`${request.method} ${name} ${request.headers.range ?? 'whole'}`);
    const content = contents[name!];
    if (mode === 'broken') return response.writeHead(500).end();
    if (content === undefined && mode === 'page') {
      return response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<!doctype html>');
    }
    if (content === undefined) return response.writeHead(404).end();
    const body = Buffer.from(content);
    const range = mode === 'ranges' ? /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '') : null;
    const part = range === null ? body : body.subarray(Number(range[1]), Number(range[2]) + 1);
    response.writeHead(range === null ? 200 : 206, { 'content-length': part.length });
    response.end(request.method === 'HEAD' ? undefined : part);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  server.close();
  await rm(directory, { recursive: true });
});

const url = (mode: string) => `http://127.0.0.1:${(server.address() as AddressInfo).port}/${mode}`;

const implementations: [string, () => CheckpointFiles][] = [
  ['memory', () => createMemoryFiles(contents)],
  ['a directory', () => createDirectoryFiles(directory)],
  ['a URL with ranges', () => createUrlFiles(url('ranges'), { wholeFileLimit: 100 })],
  ['a URL without ranges', () => createUrlFiles(url('plain'), { wholeFileLimit: 100 })],
  ['a URL, small files whole', () => createUrlFiles(`${url('ranges')}/`)],
  [
    'a browser folder',
    () =>
      createBrowserFiles(
        Object.entries(contents).map(([name, content]) => {
          const blob = new Blob([content as Uint8Array<ArrayBuffer>]);
          const slice = (start: number, end: number) => blob.slice(start, end);
          return { name, size: blob.size, webkitRelativePath: `folder/${name}`, slice };
        }),
      ),
  ],
];

describe.each(implementations)('checkpoint files from %s', (_, create) => {
  it('reads sizes, whole files and byte ranges', async () => {
    const files = create();
    const weights = contents['model.safetensors'] as Uint8Array;
    expect(await files.list()).toEqual(expect.arrayContaining(['config.json', 'model.safetensors', 'tokenizer.json']));
    expect(await files.size('model.safetensors')).toBe(weights.length);
    expect(new TextDecoder().decode(await files.read('config.json'))).toBe(contents['config.json']);
    expect(Buffer.compare(await files.read('model.safetensors', 100, 300), weights.subarray(100, 300))).toBe(0);
    expect((await files.read('model.safetensors', 5, 5)).length).toBe(0);
    await files.close?.();
  });

  it('names what is missing and what ends early', async () => {
    const files = create();
    const length = (contents['model.safetensors'] as Uint8Array).length;
    await expectKvlrError(
      () => files.read('absent.json'),
      'file-missing',
      new RegExp(`absent.json.*${files.location}`),
    );
    await expectKvlrError(() => files.size('absent.json'), 'file-missing', 'absent.json');
    await expectKvlrError(
      () => files.read('model.safetensors', length - 4, length + 4),
      'file-truncated',
      'model.safetensors',
    );
    await files.close?.();
  });

  it('opens as a checkpoint, the same everywhere', async () => {
    const checkpoint = await openCheckpoint(create());
    expect(checkpoint.id).toBe((await openCheckpoint(createMemoryFiles(contents))).id);
    expect((await checkpoint.tokenizer()).encode('the').length).toBe(2);
    await checkpoint.close();
  });
});

describe('createUrlFiles', () => {
  it('takes a page in place of a file as a missing file', async () => {
    const files = createUrlFiles(url('page'));
    expect((await files.list()).toSorted()).toEqual(
      Object.keys(contents)
        .filter((name) => name !== 'README.md')
        .toSorted(),
    );
    await expectKvlrError(() => files.read('model.safetensors.index.json'), 'file-missing', 'index.json');
    expect((await openCheckpoint(files)).shape.numLayers).toBeGreaterThan(0);
  });

  it('asks for ranges of large files and fetches a file whole at most once', async () => {
    requests = [];
    const ranged = createUrlFiles(url('ranges'), { wholeFileLimit: 100 });
    await ranged.read('model.safetensors', 0, 8);
    expect(requests).toEqual(['HEAD model.safetensors whole', 'GET model.safetensors bytes=0-7']);
    requests = [];
    const plain = createUrlFiles(url('plain'), { wholeFileLimit: 100 });
    for (const start of [0, 8, 16]) await plain.read('model.safetensors', start, start + 8);
    expect(requests.filter((request) => request.startsWith('GET')).length).toBe(1);
  });

  it('reports a server that fails and a server that is not there', async () => {
    await expectKvlrError(() => createUrlFiles(url('broken')).read('config.json'), 'network', '500');
    await expectKvlrError(() => createUrlFiles('http://127.0.0.1:1/').read('config.json'), 'network', '127.0.0.1:1');
  });
});
