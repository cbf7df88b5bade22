import type { Dirent } from 'node:fs';
import { type FileHandle, open, readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KvlrError, type RunControl } from '@kvlr/core';
import { chatTemplateFolder } from '../chat-templates.ts';
import { type CheckpointFiles, fileMissing, fileTruncated, sliceBytes } from '../files/files.ts';
import { parseHubId } from '../files/hub.ts';
import { ggufMagic, isGgufName } from '../gguf/choose.ts';
import { openGguf } from '../gguf/open.ts';
import type { HuggingFaceCheckpoint, OpenCheckpointSettings } from '../model/open.ts';
import {
  type CheckpointLocation,
  isAddress,
  openFiles,
  openSource as openSourceAnywhere,
  unknownLocation,
} from '../open-source.ts';
import { downloadHubModel, type HubDownloadSettings } from './hub-cache.ts';

export interface OpenSourceSettings extends OpenCheckpointSettings, HubDownloadSettings, RunControl {}

/**
 * Opens a checkpoint wherever it lies: a directory, a GGUF file, the id of a model on the hub (see `parseHubId`; kept in the cache on
 * disk), a URL, chosen files. What lies on disk under that name comes before the hub.
 * Throws 'file-malformed' for another file, and what `openCheckpoint` and `downloadHubModel` throw.
 */
export async function openSource(
  location: CheckpointLocation,
  settings: OpenSourceSettings = {},
): Promise<HuggingFaceCheckpoint> {
  if (location instanceof URL && location.protocol === 'file:') return openSource(fileURLToPath(location), settings);
  const address = location instanceof URL ? location.href : location;
  if (typeof address !== 'string') return openSourceAnywhere(location, settings);
  const isOnHub = parseHubId(address) !== undefined;
  if (isAddress(address) && !isOnHub) return openSourceAnywhere(location, settings);
  return (await openPath(address, settings)) ?? openHubModel(address, settings);
}

/** Undefined where nothing lies under this path. */
async function openPath(path: string, settings: OpenCheckpointSettings): Promise<HuggingFaceCheckpoint | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return undefined;
  if (found.isDirectory()) return openCheckpointDirectory((await snapshotIn(path)) ?? path, settings);
  // Programs that keep models of their own name GGUF files by their hashes.
  if (!isGgufName(path) && !(found.isFile() && (await beginsAsGguf(path)))) throw fileInPlaceOfDirectory(path);
  const files = createDirectoryFiles(dirname(path));
  return closedOnError(files, () => openGguf(files, basename(path), settings));
}

async function openHubModel(location: string, settings: OpenSourceSettings): Promise<HuggingFaceCheckpoint> {
  const forms = 'a directory or a GGUF file, the id of a model on the hub (owner/name), or a URL';
  if (parseHubId(location) === undefined) throw unknownLocation(location, forms);
  try {
    return (await openPath(await downloadHubModel(location, settings), settings))!;
  } catch (error) {
    if (!KvlrError.isInstance(error) || error.data.id !== location) throw error;
    throw new KvlrError(error.code, {
      message: `${error.message} (and there is no directory of that name)`,
      hint: error.hint,
      data: error.data,
      cause: error,
    });
  }
}

/** The files of a model's directory in the cache of Hugging Face tools: of its main branch, as it was last loaded. */
async function snapshotIn(directory: string): Promise<string | undefined> {
  const commit = await readFile(join(directory, 'refs', 'main'), 'utf8').catch(() => '');
  if (!/^[0-9a-f]{40,64}$/.test(commit.trim())) return undefined;
  const snapshot = join(directory, 'snapshots', commit.trim());
  const found = await stat(snapshot).catch(() => undefined);
  return found?.isDirectory() ? snapshot : undefined;
}

async function beginsAsGguf(path: string): Promise<boolean> {
  const handle = await open(path, 'r');
  try {
    const { buffer } = await handle.read(Buffer.alloc(ggufMagic.length), 0, ggufMagic.length, 0);
    return buffer.toString('latin1') === ggufMagic;
  } finally {
    await handle.close();
  }
}

function fileInPlaceOfDirectory(location: string): KvlrError {
  const isPart = /\.(json|safetensors)$/.test(location);
  return new KvlrError('file-malformed', {
    message: `expected the directory of a checkpoint or a GGUF file, got ${location}`,
    hint: isPart
      ? `Name its directory: ${dirname(location)}.`
      : 'Name the directory that holds config.json, tokenizer.json and *.safetensors side by side.',
    data: { location },
  });
}

/** Opens the checkpoint in a directory; see `openCheckpoint`. Close it to free the file handles. */
export async function openCheckpointDirectory(
  directory: string,
  settings: OpenCheckpointSettings = {},
): Promise<HuggingFaceCheckpoint> {
  return closedOnError(createDirectoryFiles(directory), (files) => openFiles(files, settings));
}

async function closedOnError<Opened>(
  files: CheckpointFiles,
  open: (files: CheckpointFiles) => Promise<Opened>,
): Promise<Opened> {
  try {
    return await open(files);
  } catch (error) {
    await files.close?.();
    throw error;
  }
}

async function isFile(directory: string, entry: Dirent): Promise<boolean> {
  if (!entry.isSymbolicLink()) return entry.isFile();
  const found = await stat(join(directory, entry.name)).catch(() => undefined);
  return found?.isFile() ?? false;
}

/**
 * Checkpoint files in a directory (not below it, but for its chat templates). Each read takes only its byte range; the handles of
 * files that are read in ranges stay open until `close`.
 */
export function createDirectoryFiles(directory: string): CheckpointFiles {
  const handles = new Map<string, Promise<FileHandle>>();

  const handleOf = (name: string): Promise<FileHandle> => {
    const known = handles.get(name);
    if (known !== undefined) return known;
    const pending = open(join(directory, name), 'r').catch((cause: unknown) => {
      throw fileMissing(directory, name, cause);
    });
    handles.set(name, pending);
    pending.catch(() => handles.delete(name));
    return pending;
  };

  const size = async (name: string): Promise<number> => {
    const found = await stat(join(directory, name)).catch((cause: unknown) => {
      throw fileMissing(directory, name, cause);
    });
    if (!found.isFile()) throw fileMissing(directory, name);
    return found.size;
  };

  return {
    location: directory,
    size,
    async list() {
      const entries = await readdir(directory, { withFileTypes: true }).catch((cause: unknown) => {
        throw fileMissing(directory, 'config.json', cause);
      });
      // Links lead to files in the hub's cache. Reading a pipe would never end.
      const areFiles = await Promise.all(entries.map((entry) => isFile(directory, entry)));
      const names = entries.filter((_, position) => areFiles[position]).map((entry) => entry.name);
      if (!entries.some((entry) => entry.isDirectory() && entry.name === chatTemplateFolder)) return names;
      const templates = await readdir(join(directory, chatTemplateFolder)).catch(() => []);
      return [...names, ...templates.map((name) => `${chatTemplateFolder}/${name}`)];
    },
    async read(name, start = 0, end) {
      if (end === undefined) {
        await size(name);
        const whole = await readFile(join(directory, name)).catch((cause: unknown) => {
          throw fileMissing(directory, name, cause);
        });
        return sliceBytes(directory, name, whole, start);
      }
      if (!handles.has(name)) await size(name);
      const handle = await handleOf(name);
      const bytes = new Uint8Array(end - start);
      let filled = 0;
      while (filled < bytes.length) {
        const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, start + filled);
        if (bytesRead === 0) throw fileTruncated(directory, name, end, start + filled);
        filled += bytesRead;
      }
      return bytes;
    },
    async close() {
      const open = [...handles.values()];
      handles.clear();
      await Promise.all(open.map(async (handle) => (await handle).close()));
    },
  };
}
