import { KvlrError } from '@kvlr/core';
import { type BrowserFile, type CheckpointFiles, createBrowserFiles } from './files/files.ts';
import { createHubFiles, type HubAccess, parseHubId } from './files/hub.ts';
import { createUrlFiles } from './files/url.ts';
import { openGguf } from './gguf/open.ts';
import { type HuggingFaceCheckpoint, type OpenCheckpointSettings, openCheckpoint } from './model/open.ts';

/**
 * Where a checkpoint is: the URL below which its files lie, or of a GGUF file, the id of a model on the hub (owner/name, or
 * owner/name@revision), files that a user chose, or any other `CheckpointFiles`. In Node also the path of a directory or of a
 * GGUF file.
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
  if (typeof address === 'string' && isGgufName(address.replace(/[?#].*$/, '')) && isUrl(address)) {
    const slash = address.lastIndexOf('/');
    const files = createUrlFiles(address.slice(0, slash + 1), { fetch: settings.fetch });
    return openGguf(files, decodeURIComponent(address.slice(slash + 1)), settings);
  }
  return openFiles(filesAt(location, settings), settings);
}

/** Opens what lies in these files: a checkpoint in Hugging Face form, or where there is none the only GGUF file among them. */
export async function openFiles(
  files: CheckpointFiles,
  settings: OpenCheckpointSettings = {},
): Promise<HuggingFaceCheckpoint> {
  const names = await files.list();
  const [file, ...more] = names.filter(isGgufName);
  if (file === undefined || names.includes('config.json')) return openCheckpoint(files, settings);
  if (more.length === 0) return openGguf(files, file, settings);
  throw new KvlrError('file-malformed', {
    message: `expected one model in ${files.location}, got ${[file, ...more].join(', ')}`,
    hint: 'Name the GGUF file that is meant.',
    data: { location: files.location, files: [file, ...more] },
  });
}

export function isGgufName(name: string): boolean {
  return name.toLowerCase().endsWith('.gguf');
}

function filesAt(location: CheckpointLocation, settings: OpenSourceSettings): CheckpointFiles {
  if (location instanceof URL) return createUrlFiles(location.href, { fetch: settings.fetch });
  if (typeof location !== 'string') return 'read' in location ? location : createBrowserFiles(location);
  if (isUrl(location)) return createUrlFiles(location, { fetch: settings.fetch });
  if (parseHubId(location) !== undefined) return createHubFiles(location, settings);
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
