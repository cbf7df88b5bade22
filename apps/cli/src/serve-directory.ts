import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize, sep } from 'node:path';
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
 * Serves the files of a directory on this machine only. The two isolation headers let the page use shared memory, which
 * threaded WebAssembly needs.
 */
export async function serveDirectory(directory: string, port: number): Promise<DirectoryServer> {
  if (!(await isFile(join(directory, 'index.html')))) {
    throw new KvlrError('file-missing', {
      message: 'expected a page, found none',
      hint: 'Build the demo first: pnpm build.',
      where: { file: join(directory, 'index.html') },
    });
  }
  const server = createServer((request, response) => {
    void answer(directory, request.url ?? '/', response);
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

async function answer(directory: string, url: string, response: ServerResponse): Promise<void> {
  response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
  response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
  response.setHeader('Cross-Origin-Resource-Policy', 'same-origin');
  const path = filePath(directory, url);
  if (path === undefined || !(await isFile(path))) {
    response.writeHead(404, { 'Content-Type': 'text/plain; charset=utf-8' }).end('Not found\n');
    return;
  }
  const contentType = contentTypes[extname(path)] ?? 'application/octet-stream';
  response.writeHead(200, { 'Content-Type': contentType, 'Content-Length': (await stat(path)).size });
  createReadStream(path)
    .on('error', () => response.destroy())
    .pipe(response);
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
