import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize, relative, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { KvlrError } from '@kvlr/core';

export interface DirectoryServer {
  url: string;
  close(): Promise<void>;
}

const contentTypes: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.jsonl': 'application/jsonl; charset=utf-8',
  '.map': 'application/json; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
  '.safetensors': 'application/octet-stream',
};

/**
 * Serves the files of a directory on this machine only, and those that lie `elsewhere`: paths below the directory to files. The two isolation headers let the page use shared memory, which
 * threaded WebAssembly needs.
 */
export async function serveDirectory(
  directory: string,
  port: number,
  elsewhere: ReadonlyMap<string, string> = new Map(),
): Promise<DirectoryServer> {
  if (!(await isFile(join(directory, 'index.html')))) {
    throw new KvlrError('file-missing', {
      message: 'expected the page of the demo, found none',
      hint: 'In a clone of kvlr, `npm run demo` builds it and serves it.',
      where: { file: join(directory, 'index.html') },
    });
  }
  const server = createServer((request, response) => {
    answer(directory, elsewhere, request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(portError(port, cause)));
    server.listen(port, '127.0.0.1', resolve);
  });
  const { port: taken } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${taken}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/**
 * What the page may do: its own scripts, styles, workers and WebAssembly, and models from wherever a user names one. Nothing is taken
 * from elsewhere to be run.
 */
const contentSecurityPolicy = [
  "default-src 'self'",
  "script-src 'self' 'wasm-unsafe-eval' blob:",
  "worker-src 'self' blob:",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data: blob:",
  "connect-src 'self' https: http://localhost:* http://127.0.0.1:* data: blob:",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const headers = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'X-Content-Type-Options': 'nosniff',
  'Content-Security-Policy': contentSecurityPolicy,
  'Referrer-Policy': 'no-referrer',
  'Accept-Ranges': 'bytes',
};

async function answer(
  directory: string,
  elsewhere: ReadonlyMap<string, string>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  // A page of another site that has its own name point here must not read what is served.
  if (!/^(127\.0\.0\.1|localhost|\[::1\])(:\d+)?$/i.test(request.headers.host ?? '')) {
    return refuse(response, 403, 'This is served to this machine only');
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD');
    return refuse(response, 405, 'Only GET and HEAD');
  }
  const named = filePath(directory, request.url ?? '/');
  const path = named && (elsewhere.get(relative(directory, named).replaceAll(sep, '/')) ?? named);
  if (path === undefined || !(await isFile(path))) return refuse(response, 404, 'Not found');
  const { size } = await stat(path);
  const range = rangeOf(request.headers.range, size);
  if (range === 'outside') {
    response.setHeader('Content-Range', `bytes */${size}`);
    return refuse(response, 416, 'No such range');
  }
  const { start, end } = range ?? { start: 0, end: size };
  response.writeHead(range ? 206 : 200, {
    'Content-Type': contentTypes[extname(path)] ?? 'application/octet-stream',
    'Content-Length': end - start,
    ...(range && { 'Content-Range': `bytes ${start}-${end - 1}/${size}` }),
  });
  if (request.method === 'HEAD' || end === start) {
    response.end();
    return;
  }
  // Closes the file when the other side goes away, too.
  await pipeline(createReadStream(path, { start, end: end - 1 }), response).catch(() => response.destroy());
}

function refuse(response: ServerResponse, status: number, reason: string): void {
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8' }).end(`${reason}\n`);
}

/** The bytes [start, end) of a Range header with one range; undefined where it asks for the whole. */
function rangeOf(header: string | undefined, size: number): { start: number; end: number } | 'outside' | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (match === null || (match[1] === '' && match[2] === '')) return undefined;
  const [, from, to] = match;
  const start = from === '' ? Math.max(0, size - Number(to)) : Number(from);
  const end = from === '' || to === '' ? size : Math.min(Number(to) + 1, size);
  return start < end ? { start, end } : 'outside';
}

/** The file a URL names; undefined when it lies outside the directory or is no valid URL. */
function filePath(directory: string, url: string): string | undefined {
  try {
    const pathname = decodeURIComponent(new URL(url, 'http://localhost').pathname);
    const path = normalize(join(directory, pathname.endsWith('/') ? `${pathname}index.html` : pathname));
    return path.startsWith(directory + sep) && !path.includes('\0') ? path : undefined;
  } catch {
    return undefined;
  }
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (entry) => entry.isFile(),
    () => false,
  );
}

function portError(port: number, cause: Error): KvlrError {
  return new KvlrError('network', {
    message: `expected to listen on port ${port}, got: ${cause.message}`,
    hint: 'Choose another one with --port, or --port 0 for any free one.',
    data: { port },
    cause,
  });
}
