import { KvlrError } from '@kvlr/core';
import { type BrowserFile, type CheckpointFiles, createBrowserFiles } from './files/files.ts';
import { createHubFiles, type HubAccess, parseHubId } from './files/hub.ts';
import { createUrlFiles } from './files/url.ts';
import { chooseGguf, isGgufName } from './gguf/choose.ts';
import { openGguf, requireReadableGguf } from './gguf/open.ts';
import {
  type HuggingFaceCheckpoint,
  type OpenCheckpointSettings,
  openCheckpoint,
  requireReadableConfig,
} from './model/open.ts';

/**
 * Where a checkpoint is: the URL below which its files lie, or of a GGUF file, the id of a model on the hub (see `parseHubId`), files
 * that a user chose, or any other `CheckpointFiles`. In Node also the path of a directory or of a GGUF file.
 */
export type CheckpointLocation = string | URL | Iterable<BrowserFile> | CheckpointFiles;

export interface OpenSourceSettings extends OpenCheckpointSettings, HubAccess {}

/**
 * Opens a checkpoint wherever it lies: below a URL ('https://...', or './models/mine' beside the page), on the hub
 * ('owner/name'), or in files that a user chose. Weights are read by byte range when they are asked for.
 * Throws what `openCheckpoint` and `openGguf` throw, and 'access-denied', 'network'.
 */
export async function openSource(
  location: CheckpointLocation,
  settings: OpenSourceSettings = {},
): Promise<HuggingFaceCheckpoint> {
  const address = location instanceof URL ? location.href : location;
  const isPlace = typeof address === 'string' || (typeof address === 'object' && address !== null);
  if (!isPlace || !(typeof address === 'string' || 'read' in address || Symbol.iterator in address)) {
    throw new KvlrError('invalid-argument', {
      message: `expected where a checkpoint lies, got ${address === null ? 'null' : typeof address}`,
      hint: 'Give a URL, the id of a model on the hub (owner/name), or the files that a user chose.',
      where: { argument: 'location' },
    });
  }
  const id = typeof address === 'string' ? parseHubId(address) : undefined;
  if (id !== undefined) return openFiles(createHubFiles(String(address), settings), settings, id.gguf);
  if (typeof address === 'string' && isUrl(address) && isGgufName(pathOf(address)))
    return openGgufUrl(address, settings);
  return openFiles(filesAt(location, settings), settings);
}

function openGgufUrl(address: string, settings: OpenSourceSettings): Promise<HuggingFaceCheckpoint> {
  const path = pathOf(address);
  const slash = path.lastIndexOf('/');
  // Signed addresses have their signature in the query.
  const query = address.slice(path.length).replace(/#.*$/, '');
  const send = settings.fetch ?? fetch;
  const files = createUrlFiles(path.slice(0, slash + 1), { fetch: (url, init) => send(url + query, init) });
  return openGguf(files, decodeURIComponent(path.slice(slash + 1)), settings);
}

function pathOf(address: string): string {
  return address.replace(/[?#].*$/, '');
}

/**
 * Opens what lies in these files: a checkpoint in Hugging Face form, or a GGUF file: that which is named, or the only one where there is
 * no checkpoint. Throws what `chooseGguf`, `openCheckpoint` and `openGguf` throw.
 */
export async function openFiles(
  files: CheckpointFiles,
  settings: OpenCheckpointSettings = {},
  gguf?: string,
): Promise<HuggingFaceCheckpoint> {
  const file = chooseGguf(await files.list(), files.location, gguf);
  return file === undefined ? openCheckpoint(files, settings) : openGguf(files, file, settings);
}

/**
 * Refuses a model that kvlr does not read, from its config or the header of its GGUF file alone, before its weights are loaded.
 * Throws what opening it would throw.
 */
export async function requireReadable(
  files: CheckpointFiles,
  gguf: string | undefined,
  { architectures = [] }: OpenCheckpointSettings,
): Promise<void> {
  if (gguf === undefined) await requireReadableConfig(files, architectures);
  else await requireReadableGguf(files, gguf, architectures);
}

function filesAt(location: CheckpointLocation, settings: OpenSourceSettings): CheckpointFiles {
  if (location instanceof URL) return createUrlFiles(location.href, { fetch: settings.fetch });
  if (typeof location !== 'string') return 'read' in location ? location : createBrowserFiles(location);
  if (isUrl(location)) return createUrlFiles(location, { fetch: settings.fetch });
  throw unknownLocation(location, 'a URL, or the id of a model on the hub (owner/name)');
}

function isUrl(text: string): boolean {
  return isAddress(text) || /^\.{0,2}\//.test(text);
}

/** True for http: and https: addresses. */
export function isAddress(text: string): boolean {
  return /^https?:\/\//.test(text);
}

export function unknownLocation(received: string, forms: string): KvlrError {
  return new KvlrError('file-missing', {
    message: `expected ${forms}, got ${JSON.stringify(received)}`,
    hint: 'Check the spelling. A checkpoint has config.json, tokenizer.json and *.safetensors side by side.',
    data: { location: received },
  });
}
