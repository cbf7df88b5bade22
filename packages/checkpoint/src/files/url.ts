import { KvlrError } from '@kvlr/core';
import { type CheckpointFiles, fileMissing, fileTruncated, readJsonObject, sliceBytes } from './files.ts';
import { guardedFetch, serverLimits } from './guarded-fetch.ts';

/** A web server cannot be asked for a listing: these names are tried, then the shards of the index. */
const probedNames = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
  'model.safetensors',
  'model.safetensors.index.json',
];

export interface UrlFilesSettings {
  /** Files up to this many bytes are fetched whole, once, instead of by many small ranges. Default 64 MiB. */
  wholeFileLimit?: number;
  /** Replacement of the global fetch, for example one that adds an authorization header. */
  fetch?: (url: string, init?: RequestInit) => Promise<Response>;
}

/**
 * Checkpoint files below a URL. Large files are read by HTTP range requests where the server supports them; a server
 * that answers a range with the whole file has that file kept, so that it is fetched once.
 */
export function createUrlFiles(baseUrl: string, settings: UrlFilesSettings = {}): CheckpointFiles {
  const location = baseUrl.endsWith('/') ? baseUrl : `${baseUrl}/`;
  const wholeFileLimit = settings.wholeFileLimit ?? 64 * 1024 * 1024;
  const request = (name: string) => guardedFetch({ fetch: settings.fetch, maxBytes: mostBytes(name) });
  const wholeFiles = new Map<string, Promise<Uint8Array>>();
  const sizes = new Map<string, Promise<number>>();

  const send = async (name: string, init: RequestInit): Promise<Response> => {
    const url = location + name.split('/').map(encodeURIComponent).join('/');
    let response: Response;
    try {
      response = await request(name)(url, init);
    } catch (cause) {
      if (KvlrError.isInstance(cause)) throw cause;
      throw networkError(url, 'no answer', cause);
    }
    // Servers of single-page applications answer what they have not with the application's page, and status 200.
    const isPage = response.ok && /^text\/html\b/.test(response.headers.get('content-type') ?? '');
    if (response.status === 404 || response.status === 410 || isPage) throw fileMissing(location, name);
    return response;
  };

  const fetchWhole = async (name: string): Promise<Uint8Array> => {
    const response = await send(name, {});
    if (!response.ok) throw networkError(location + name, `status ${response.status}`);
    return bytesOf(response, name);
  };

  const bytesOf = async (response: Response, name: string): Promise<Uint8Array> => {
    try {
      return new Uint8Array(await response.arrayBuffer());
    } catch (cause) {
      throw KvlrError.isInstance(cause) ? cause : networkError(location + name, 'an answer that broke off', cause);
    }
  };

  /** The promise is kept, so that readers at the same time share one download; a failed one is forgotten. */
  const whole = (name: string, download = () => fetchWhole(name)): Promise<Uint8Array> => {
    const known = wholeFiles.get(name);
    if (known !== undefined) return known;
    const pending = download();
    wholeFiles.set(name, pending);
    pending.catch(() => wholeFiles.delete(name));
    return pending;
  };

  const measure = async (name: string): Promise<number> => {
    const head = await send(name, { method: 'HEAD' });
    const length = head.headers.get('content-length');
    // With a content encoding the length is that of the packed transfer, not of the file.
    const isLength = length !== null && /^\d+$/.test(length) && Number.isSafeInteger(Number(length));
    if (head.ok && isLength && head.headers.get('content-encoding') === null) return Number(length);
    return (await whole(name)).length;
  };

  const size = (name: string): Promise<number> => {
    const known = sizes.get(name);
    if (known !== undefined) return known;
    const pending = measure(name);
    sizes.set(name, pending);
    pending.catch(() => sizes.delete(name));
    return pending;
  };

  const readRange = async (name: string, start: number, end: number): Promise<Uint8Array> => {
    const response = await send(name, { headers: { Range: `bytes=${start}-${end - 1}` } });
    if (response.status === 200) {
      const bytes = await whole(name, () => bytesOf(response, name));
      return sliceBytes(location, name, bytes, start, end);
    }
    if (response.status !== 206) throw networkError(location + name, `status ${response.status}`);
    const bytes = await bytesOf(response, name);
    if (bytes.length !== end - start) throw fileTruncated(location, name, end, start + bytes.length);
    return bytes;
  };

  const read = async (name: string, start = 0, end?: number): Promise<Uint8Array> => {
    if (!wholeFiles.has(name) && end !== undefined && (await size(name)) > wholeFileLimit) {
      return end === start ? new Uint8Array(0) : readRange(name, start, end);
    }
    return sliceBytes(location, name, await whole(name), start, end);
  };

  const exists = (name: string): Promise<boolean> =>
    size(name).then(
      () => true,
      (error: unknown) => {
        if (KvlrError.isInstance(error) && error.code === 'file-missing') return false;
        throw error;
      },
    );

  const findNames = async (): Promise<string[]> => {
    const found = await Promise.all(probedNames.map(exists));
    const present = probedNames.filter((_, position) => found[position]);
    if (!present.includes('model.safetensors.index.json')) return present;
    const { weight_map: weightMap } = await readJsonObject(files, 'model.safetensors.index.json');
    return [...new Set([...present, ...Object.values(Object(weightMap)).filter((file) => typeof file === 'string')])];
  };

  let names: Promise<string[]> | undefined;
  const files: CheckpointFiles = {
    location,
    size,
    read,
    list() {
      names ??= findNames().catch((error: unknown) => {
        names = undefined;
        throw error;
      });
      return names;
    },
  };
  return files;
}

/** Of an answer that is no range. */
function mostBytes(name: string): number {
  return /\.(safetensors|gguf)$/i.test(name) ? serverLimits.wholeFileBytes : serverLimits.smallFileBytes;
}

function networkError(url: string, received: string, cause?: unknown): KvlrError {
  return new KvlrError('network', {
    message: `expected ${url} to be served, got ${received}`,
    hint: 'Check the address and the connection; a server on another origin must allow cross-origin requests.',
    data: { url, received },
    cause,
  });
}
