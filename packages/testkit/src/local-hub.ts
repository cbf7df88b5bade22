import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Files of a repository by name; strings are stored as UTF-8. */
type FileContents = Record<string, Uint8Array | string>;

export interface LocalHub {
  url: string;
  /** Paths that were asked for, with the first byte of a range behind # and without queries. */
  requests: string[];
  files: FileContents;
  commit: string;
  /** What every request is answered with, instead of the files. */
  refuse?: { status: number; message: string };
  /** Whoever lacks this token gets 401. */
  token?: string;
  /** The connection breaks after so many bytes of a weights file. */
  breakAfter?: number;
  close(): Promise<void>;
}

/** A server that speaks the few endpoints of the hub that are used, for one model: team/tiny. */
export async function startLocalHub(files: FileContents): Promise<LocalHub> {
  const server = createServer((request, response) => answer(hub, request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const hub: LocalHub = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [],
    files,
    commit: 'a'.repeat(40),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return hub;
}

function answer(hub: LocalHub, request: IncomingMessage, response: ServerResponse): void {
  const { pathname } = new URL(request.url!, hub.url);
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  hub.requests.push(range ? `${pathname}#${range[1]}` : pathname);
  const denied = hub.token !== undefined && request.headers.authorization !== `Bearer ${hub.token}`;
  const refusal = hub.refuse ?? (denied ? { status: 401, message: 'Invalid credentials' } : undefined);
  const name = /^\/team\/tiny\/resolve\/[^/]+\/(.+)$/.exec(pathname)?.[1];
  if (refusal) sendJson(response, refusal.status, { error: refusal.message });
  else if (/^\/api\/models\/team\/tiny\/revision\/(main|v1)$/.test(pathname)) {
    sendJson(response, 200, { _id: '1', id: 'team/tiny', sha: hub.commit, lastModified: '2026-01-01' });
  } else if (pathname.startsWith('/api/models/team/tiny/tree/')) sendJson(response, 200, listing(hub.files));
  else if (name !== undefined && hub.files[name] !== undefined) sendFile(hub, name, range, response);
  else sendJson(response, 404, { error: 'Repository not found' });
}

function sendFile(hub: LocalHub, name: string, range: RegExpExecArray | null, response: ServerResponse): void {
  const bytes = bytesOf(hub.files[name]!);
  const start = Number(range?.[1] ?? 0);
  const end = range?.[2] ? Number(range[2]) + 1 : bytes.length;
  const part = bytes.subarray(start, end);
  response.writeHead(range ? 206 : 200, {
    etag: `"${sha256(bytes)}"`,
    'content-length': part.length,
    ...(range && { 'content-range': `bytes ${start}-${end - 1}/${bytes.length}` }),
  });
  if (hub.breakAfter === undefined || !isWeights(name) || part.length <= hub.breakAfter) {
    response.end(part);
    return;
  }
  response.write(part.subarray(0, hub.breakAfter), () => setTimeout(() => response.destroy(), 20));
}

function isWeights(name: string): boolean {
  return /\.(safetensors|gguf)$/.test(name);
}

function listing(files: FileContents): object[] {
  return Object.entries(files).map(([path, content]) => {
    const bytes = bytesOf(content);
    const oid = sha256(bytes);
    const large = isWeights(path) ? { lfs: { oid, size: bytes.length, pointerSize: 130 } } : {};
    return { type: 'file', path, size: bytes.length, oid: oid.slice(0, 40), ...large };
  });
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

function bytesOf(content: Uint8Array | string): Uint8Array {
  return typeof content === 'string' ? new TextEncoder().encode(content) : content;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
