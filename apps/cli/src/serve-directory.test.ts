import { mkdtemp, readdir, readlink, rm, writeFile } from 'node:fs/promises';
import { type IncomingHttpHeaders, request } from 'node:http';
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

  it('serves files that lie elsewhere under their path in the page', async () => {
    const page = await mkdtemp(join(tmpdir(), 'kvlr-serve-page-'));
    await writeFile(join(page, 'index.html'), 'page');
    const other = await serveDirectory(page, 0, new Map([['assets/kernel.wasm', join(directory, 'kernel.wasm')]]));
    expect((await (await fetch(`${other.url}assets/kernel.wasm`)).arrayBuffer()).byteLength).toBe(4);
    expect((await fetch(`${other.url}assets/toString`)).status).toBe(404);
    await other.close();
    await rm(page, { recursive: true });
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

  /** A request with whatever headers; fetch forbids some. */
  const ask = (settings: { method?: string; headers?: Record<string, string>; path?: string }) =>
    new Promise<{ status: number; body: string; headers: IncomingHttpHeaders }>((resolve, reject) => {
      const asked = request({ port: new URL(server.url).port, path: '/', ...settings }, (response) => {
        let body = '';
        response.on('data', (bytes) => {
          body += bytes;
        });
        response.on('end', () => resolve({ status: response.statusCode!, body, headers: response.headers }));
      });
      asked.on('error', reject).end();
    });

  it('answers GET and HEAD, asked by the names of this machine, with headers that keep strangers out', async () => {
    const { status, headers } = await ask({ method: 'HEAD' });
    expect([status, headers['content-length']]).toEqual([200, '19']);
    expect(headers['x-content-type-options']).toBe('nosniff');
    expect(headers['content-security-policy']).toContain("default-src 'self'");
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) expect((await ask({ method })).status).toBe(405);
    expect((await ask({ headers: { Host: 'localhost:1234' } })).status).toBe(200);
    for (const Host of ['evil.example', '127.0.0.1.evil.example']) {
      expect((await ask({ headers: { Host } })).status).toBe(403);
    }
  });

  it.each([
    ['bytes=1-2', 206, 'as', 'bytes 1-2/4'],
    ['bytes=2-', 206, 'sm', 'bytes 2-3/4'],
    ['bytes=-1', 206, 'm', 'bytes 3-3/4'],
    ['bytes=2-99', 206, 'sm', 'bytes 2-3/4'],
    ['bytes=4-', 416, 'No such range\n', 'bytes */4'],
    ['bytes=-', 200, '\0asm', undefined],
    ['lines=1-2', 200, '\0asm', undefined],
  ])('serves the range %s', async (range, status, body, contentRange) => {
    const answer = await ask({ path: '/kernel.wasm', headers: { range } });
    expect([answer.status, answer.body, answer.headers['content-range']]).toEqual([status, body, contentRange]);
  });

  it.runIf(process.platform === 'linux')('holds no file open for downloads that were broken off', async () => {
    await writeFile(join(directory, 'large.bin'), Buffer.alloc(8_000_000));
    const open = async () => {
      const links = await readdir('/proc/self/fd');
      const files = await Promise.all(links.map((link) => readlink(`/proc/self/fd/${link}`).catch(() => '')));
      return files.filter((file) => file.startsWith(directory)).length;
    };
    for (let round = 0; round < 20; round++) {
      const stop = new AbortController();
      const response = await fetch(`${server.url}large.bin`, { signal: stop.signal });
      await response.body!.getReader().read();
      stop.abort();
    }
    await expect.poll(open).toBe(0);
  });

  it('names the page that is missing', async () => {
    await expect(serveDirectory(join(directory, 'none'), 0)).rejects.toMatchObject({ code: 'file-missing' });
  });
});
