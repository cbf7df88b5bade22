import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type DirectoryServer, serveDirectory } from './serve-directory.ts';

describe('serveDirectory', () => {
  let directory: string;
  let server: DirectoryServer;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kvlr-serve-'));
    await writeFile(join(directory, 'index.html'), '<title>demo</title>');
    await writeFile(join(directory, 'kernel.wasm'), Uint8Array.of(0, 97, 115, 109));
    server = await serveDirectory(directory, 0);
  });

  afterEach(async () => {
    await server.close();
    await rm(directory, { recursive: true });
  });

  it('serves the page with the isolation headers', async () => {
    const response = await fetch(server.url);
    expect(await response.text()).toBe('<title>demo</title>');
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(response.headers.get('cross-origin-opener-policy')).toBe('same-origin');
    expect(response.headers.get('cross-origin-embedder-policy')).toBe('require-corp');
  });

  it('serves wasm under its own type, which streaming compilation requires', async () => {
    const response = await fetch(`${server.url}kernel.wasm`);
    expect(response.headers.get('content-type')).toBe('application/wasm');
    expect((await response.arrayBuffer()).byteLength).toBe(4);
  });

  it.each(['/missing.js', '/..%2f..%2fetc/passwd', '/%00', '/%ff'])('answers 404 to %s', async (path) => {
    const { port } = new URL(server.url);
    const status = await new Promise((resolve, reject) => {
      request({ port, path }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on('error', reject)
        .end();
    });
    expect(status).toBe(404);
  });

  it('names the page that is missing', async () => {
    await expect(serveDirectory(join(directory, 'none'), 0)).rejects.toMatchObject({ code: 'file-missing' });
  });
});
