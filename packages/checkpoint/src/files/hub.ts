import { KvlrError } from '@kvlr/core';
import { type CheckpointFiles, fileMissing, fileTruncated } from './files.ts';
import { type FetchGuard, guardedFetch, isPlainName, serverLimits } from './guarded-fetch.ts';

/** A model on the Hugging Face hub. */
export interface HubId {
  /** owner/name */
  name: string;
  /** Branch, tag or commit. */
  revision: string;
  /** Which of the GGUF files of the repository is meant: its name, or how its weights are quantised (Q4_K_M). */
  gguf?: string;
}

const pattern = /^([\w-][\w.-]*\/[\w-][\w.-]*)(?:@([\w./-]+))?(?::([\w.+-]+)|\/([\w.+-]+\.gguf))?$/i;
/** The page of a model or of a file, as it stands in a browser's address bar. */
const page =
  /^https:\/\/(?:huggingface\.co|hf\.co)\/([^/]+\/[^/:@]+)(?:\/(?:tree|blob|resolve)\/([^/]+)(?:\/([^/]+\.gguf))?)?\/?$/i;

/**
 * Reads owner/name or owner/name@revision, and of repositories with GGUF files also owner/name:Q4_K_M, owner/name:file.gguf and
 * owner/name/file.gguf; the address of the page of such a model or file, too. Undefined for a text of another form. The revision is
 * main by default.
 */
export function parseHubId(text: string): HubId | undefined {
  const [, name = '', revision = 'main', gguf] = page.exec(text.replace(/[?#].*$/, '')) ?? [];
  const found = name === '' ? parseShortId(text) : { name, revision, ...(gguf !== undefined && { gguf }) };
  if (found === undefined) return undefined;
  // All become paths of the cache.
  const steps = [
    ...found.name.split('/'),
    ...found.revision.split('/'),
    ...(found.gguf === undefined ? [] : [found.gguf]),
  ];
  return steps.every(isPlainName) ? found : undefined;
}

function parseShortId(text: string): HubId | undefined {
  const match = pattern.exec(text);
  if (match === null) return undefined;
  const [, name = '', revision = 'main', choice, file] = match;
  const gguf = choice ?? file;
  // A revision may hold slashes itself: the file behind one is named with a colon.
  return { name, revision, ...(gguf !== undefined && { gguf }) };
}

/** `parseHubId` that throws 'invalid-argument'. */
export function requireHubId(text: string): HubId {
  const id = parseHubId(text);
  if (id !== undefined) return id;
  throw new KvlrError('invalid-argument', {
    message: `expected the id of a model on the hub, got ${JSON.stringify(text)}`,
    hint: 'Write owner/name, or owner/name@revision; owner/name:Q4_K_M or owner/name/file.gguf for one of several GGUF files.',
    data: { received: text },
  });
}

/** How the hub is reached. */
export interface HubAccess {
  /** Another hub than the library's default, for example a mirror. */
  hubUrl?: string;
  /** For private and gated models; begins with hf_. */
  accessToken?: string;
  /** Replacement of the global fetch. */
  fetch?: typeof fetch;
  signal?: AbortSignal;
}

/** Where the hub is, unless another address is given. */
const usualHub = 'https://huggingface.co';

/** The parameters that every call of the hub library takes; each request ends when the signal fires, and within `serverLimits`. */
export function hubParameters(
  { hubUrl, accessToken, fetch, signal }: HubAccess,
  limits: Pick<FetchGuard, 'maxBytes' | 'maxRequests'> = {},
) {
  if (accessToken !== undefined && !accessToken.startsWith('hf_')) {
    throw new KvlrError('invalid-argument', {
      message: 'expected an access token that begins with hf_, got another text',
      hint: 'Copy the token again (HF_TOKEN), or leave it out for public models.',
    });
  }
  const address = hubUrl ?? usualHub;
  if (!URL.canParse(address) || !/^https?:$/.test(new URL(address).protocol)) {
    throw new KvlrError('invalid-argument', {
      message: `expected the address of a hub, got ${JSON.stringify(address)}`,
      hint: 'Write it as https://host (HF_ENDPOINT).',
      data: { received: address },
    });
  }
  const secret = accessToken === undefined ? undefined : { token: accessToken, origin: new URL(address).origin };
  return {
    hubUrl,
    accessToken,
    fetch: guardedFetch({ fetch: fetch as FetchGuard['fetch'], signal, secret, ...limits }),
  };
}

/** A file of a listing that is believed. */
export interface ListedFile {
  name: string;
  size: number;
  /** Name of its content: hexadecimal. */
  hash: string;
  /** SHA-256 of the content, where the hub knows it: of large files. */
  sha256: string | undefined;
}

/**
 * The files of a checkpoint at a revision. Names, sizes and hashes are checked: they become paths and lengths.
 * Throws 'network' for a listing without end, and what the hub library throws.
 */
export async function listHubFiles(access: HubAccess, repo: string, revision: string): Promise<ListedFile[]> {
  const { listFiles } = await import('@huggingface/hub');
  const parameters = hubParameters(access, { maxRequests: serverLimits.pages });
  const files: ListedFile[] = [];
  let entries = 0;
  for await (const { type, path, size, oid, lfs } of listFiles({ ...parameters, repo, revision })) {
    if (++entries > serverLimits.listedFiles) throw endlessListing(repo);
    if (type !== 'file' || !isCheckpointFile(path) || !Number.isSafeInteger(size) || size < 0) continue;
    const hash = lfs?.oid ?? oid;
    if (typeof hash === 'string' && /^[0-9a-f]{32,128}$/i.test(hash))
      files.push({ name: path, size, hash, sha256: lfs?.oid });
  }
  return files;
}

function endlessListing(repo: string): KvlrError {
  return new KvlrError('network', {
    message: `expected at most ${serverLimits.listedFiles} files in ${repo}, got more`,
    hint: 'Check the address of the hub: a model has no more files than that.',
    data: { id: repo },
  });
}

/**
 * The files of a model on the Hugging Face hub (owner/name, or owner/name@revision), each read taking only its byte range
 * over the network. Nothing is kept: in Node, `downloadHubModel` keeps what it loads.
 * Reads throw 'access-denied', 'file-missing', 'file-truncated', 'network', 'aborted'.
 */
export function createHubFiles(id: string, access: HubAccess = {}): CheckpointFiles {
  const { name: repo, revision } = requireHubId(id);
  hubParameters(access);
  const blobs = new Map<string, Promise<Blob>>();
  let sizes: Promise<Map<string, number>> | undefined;

  const ask = async <Value>(work: () => Promise<Value>): Promise<Value> => {
    try {
      return await work();
    } catch (error) {
      throw hubError(error, id);
    }
  };

  const listing = (): Promise<Map<string, number>> => {
    sizes ??= ask(async () => {
      const files = await listHubFiles(access, repo, revision);
      return new Map(files.map(({ name, size }) => [name, size]));
    });
    sizes.catch(() => {
      sizes = undefined;
    });
    return sizes;
  };

  const sizeOf = async (name: string): Promise<number> => {
    const size = (await listing()).get(name);
    if (size === undefined) throw fileMissing(id, name);
    return size;
  };

  const blobOf = (name: string): Promise<Blob> => {
    const known = blobs.get(name);
    if (known !== undefined) return known;
    const pending = ask(async () => {
      const { downloadFile } = await import('@huggingface/hub');
      const parameters = hubParameters(access, { maxBytes: bytesOfAnswers(await sizeOf(name)) });
      const blob = await downloadFile({ ...parameters, repo, revision, path: name });
      if (blob === null) throw fileMissing(id, name);
      return blob;
    });
    blobs.set(name, pending);
    pending.catch(() => blobs.delete(name));
    return pending;
  };

  return {
    location: id,
    list: async () => [...(await listing()).keys()],
    size: sizeOf,
    async read(name, start = 0, end) {
      const size = await sizeOf(name);
      const stop = end ?? size;
      if (stop > size || start > stop) throw fileTruncated(id, name, stop, size);
      if (start === stop) return new Uint8Array();
      const blob = await blobOf(name);
      const bytes = await ask(async () => new Uint8Array(await blob.slice(start, stop).arrayBuffer()));
      if (bytes.length !== stop - start) throw fileTruncated(id, name, stop, start + bytes.length);
      return bytes;
    },
  };
}

/**
 * Of the files of a model's repository those that a checkpoint consists of: safetensors as transformers names them, GGUF files, configs,
 * tokenizer, chat templates and licence, in the topmost folder.
 */
function isCheckpointFile(name: unknown): name is string {
  if (!isPlainName(name)) return false;
  return (
    /^model(-\d+-of-\d+)?\.safetensors$/.test(name) ||
    /\.(json|jinja|tiktoken)$/.test(name) ||
    /\.gguf$/i.test(name) ||
    /^(tokenizer|spiece)\.model$|^(vocab|merges)\.txt$|^(LICENSE|NOTICE)/.test(name)
  );
}

/** Most bytes of an answer where a file of this size is loaded: itself, or what the hub says about it. */
export function bytesOfAnswers(size: number): number {
  return Math.max(size, serverLimits.smallFileBytes);
}

/**
 * What the hub library threw, as a typed error: 'access-denied' (401, 403), 'file-missing' (404), 'network' (anything else
 * that the hub said, or no answer), 'aborted'. Typed errors pass through.
 */
export function hubError(cause: unknown, id: string): KvlrError {
  if (KvlrError.isInstance(cause)) return cause;
  if (cause instanceof Error && cause.name === 'AbortError') {
    return new KvlrError('aborted', { message: 'The work was stopped before it was done.', cause });
  }
  const status = (cause as { statusCode?: unknown } | undefined)?.statusCode;
  const said = cause instanceof Error ? cause.message : String(cause);
  const data = { id, status };
  const message = `expected the hub to give ${id}, got ${status === undefined ? said : `status ${status}: ${said}`}`;
  if (status === 401 || status === 403) {
    const hint =
      'Check the name. For a private or gated model, accept its terms on its page and put a token that may read it in HF_TOKEN.';
    return new KvlrError('access-denied', { message, hint, data, cause });
  }
  if (status === 404) {
    const hint = 'Check owner, name and revision: the hub has no such model or file.';
    return new KvlrError('file-missing', { message, hint, data, cause });
  }
  const hint =
    status === undefined
      ? 'Check the connection (and HF_ENDPOINT, if it is set); what was loaded is kept, and the next try goes on from there.'
      : 'Try again later; what was loaded is kept, and the next try goes on from there.';
  return new KvlrError('network', { message, hint, data, cause });
}
