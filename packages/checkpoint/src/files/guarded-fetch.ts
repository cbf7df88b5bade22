import { KvlrError } from '@kvlr/core';

/** What a server may do before it is believed no longer, and why no more. */
export const serverLimits = {
  /** Listings, indices, vocabularies: the longest tokenizer.json in use takes 34 MB. */
  smallFileBytes: 256 * 1024 * 1024,
  /** Weights of a server that knows no ranges are held in memory whole: no more than a typed array holds everywhere. */
  wholeFileBytes: 4 * 1024 ** 3,
  /** A page of a listing has a thousand files, and repositories of models some hundreds of files in all. */
  pages: 100,
  listedFiles: 10_000,
  /** How long a server may take before it answers, and how long it may send less than `bytesPerPause`. */
  pauseMilliseconds: 60_000,
  /** A kilobyte a second: slower than any line by which models are loaded. */
  bytesPerPause: 60_000,
} as const;

export interface FetchGuard {
  /** Replacement of the global fetch. */
  fetch?: ((url: string, init?: RequestInit) => Promise<Response>) | undefined;
  signal?: AbortSignal | undefined;
  /** A secret, and the only origin that is told it. */
  secret?: { token: string; origin: string } | undefined;
  /** Most bytes of an answer to a request that names no range. Default `smallFileBytes`. */
  maxBytes?: number | undefined;
  /** Most requests in all. */
  maxRequests?: number | undefined;
  /** In place of `serverLimits.pauseMilliseconds`. */
  pauseMilliseconds?: number | undefined;
}

/**
 * A `fetch` for servers that are not trusted: an answer ends with 'network' when it has more bytes than were asked for, comes more slowly
 * than `serverLimits` allow or not at all; a token reaches no other origin, whatever header it is in.
 */
export function guardedFetch(guard: FetchGuard): typeof fetch {
  const { fetch: send = fetch, signal, secret, maxBytes = serverLimits.smallFileBytes, maxRequests } = guard;
  const pause = guard.pauseMilliseconds ?? serverLimits.pauseMilliseconds;
  let requests = 0;
  return async (input, init = {}) => {
    const url = input instanceof Request ? input.url : String(input);
    requests++;
    if (maxRequests !== undefined && requests > maxRequests) throw distrusted(url, `more than ${maxRequests} pages`);
    const headers = new Headers(init.headers);
    if (secret !== undefined && originOf(url) !== secret.origin) hide(headers, secret.token);
    const stop = new AbortController();
    const signals = [signal, init.signal, stop.signal].filter((given) => given instanceof AbortSignal);
    const request = { ...init, headers, signal: AbortSignal.any(signals) };
    const response = await within(pause, send(url, request), () => {
      const error = distrusted(url, `no answer within ${pause / 1000} seconds`);
      stop.abort(error);
      return error;
    });
    const asked = bytesAskedFor(headers.get('range'), response.status) ?? maxBytes;
    return bounded(response, url, { maxBytes: asked, pause });
  };
}

function originOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).origin : undefined;
}

function hide(headers: Headers, token: string): void {
  for (const [name, value] of [...headers]) {
    if (value.includes(token)) headers.delete(name);
  }
}

/** Undefined where the answer is no part of a file. */
function bytesAskedFor(range: string | null, status: number): number | undefined {
  const match = status === 206 ? /^bytes=(\d+)-(\d+)$/.exec(range ?? '') : null;
  return match ? Number(match[2]) - Number(match[1]) + 1 : undefined;
}

/** What `work` gives, or the error of `onLate` after so many milliseconds. */
async function within<Value>(milliseconds: number, work: Promise<Value>, onLate: () => Error): Promise<Value> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(onLate()), milliseconds);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The same response with a body that ends in an error beyond the limits. The time of a reader that is slow does not count. */
function bounded(response: Response, url: string, limits: { maxBytes: number; pause: number }): Response {
  if (response.body === null) return response;
  const reader = response.body.getReader();
  let total = 0;
  let bytesInPause = 0;
  let left = limits.pause;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const began = performance.now();
      const late = () => distrusted(url, `fewer than ${serverLimits.bytesPerPause} bytes in ${limits.pause / 1000} s`);
      try {
        const { done, value } = await within(Math.max(left, 1), reader.read(), late);
        if (done) return controller.close();
        total += value.length;
        bytesInPause += value.length;
        left -= performance.now() - began;
        if (total > limits.maxBytes) throw distrusted(url, `more than ${limits.maxBytes} bytes`);
        if (bytesInPause >= serverLimits.bytesPerPause) {
          bytesInPause = 0;
          left = limits.pause;
        }
        controller.enqueue(value);
      } catch (error) {
        controller.error(error);
        await reader.cancel(error).catch(() => {});
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
  const { status, statusText, headers } = response;
  const guarded = new Response(body, { status, statusText, headers });
  Object.defineProperty(guarded, 'url', { value: response.url });
  return guarded;
}

function distrusted(url: string, received: string): KvlrError {
  return new KvlrError('network', {
    message: `expected ${url} to be served in bounds, got ${received}`,
    hint: 'Check the address: what answers there is no server of models, or not a sound one.',
    data: { url, received },
  });
}

/** Names that Windows gives to devices, whatever comes behind a dot. */
const deviceName = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;

/**
 * True for a name that a stranger's file may get on every system: one step of a path, not hidden, without the characters that mean
 * something to Windows, of at most 255 bytes.
 */
export function isPlainName(name: unknown): name is string {
  if (typeof name !== 'string' || new TextEncoder().encode(name).length > 255) return false;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  return /^[^\0-\x1f\x7f\\/:*?"<>|]+$/.test(name) && !/^[. ]|[. ]$/.test(name) && !deviceName.test(name);
}
