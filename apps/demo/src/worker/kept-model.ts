import { type BrowserFile, checkpointFiles, type HuggingFaceCheckpoint, openSource } from '@kvlr/checkpoint';
import type { ModelSource, RunControl } from '@kvlr/core';
import type { KeptResult, OwnModel } from '../messages.ts';
import { writeInto } from './save-result.ts';

/** Raised when what is kept changes its form: older ones are then forgotten. */
const folderName = 'kvlr-own-1';
const recordName = 'record.json';

interface KeepRequest extends Pick<RunControl, 'signal'> {
  own: OwnModel;
  result: KeptResult;
  original: HuggingFaceCheckpoint;
  model: ModelSource;
  /** The original is read from what is kept. */
  originalIsKept: boolean;
}

/** A model of the visitor's and what was made of it, as an earlier visit left them. */
export interface KeptModel {
  own: OwnModel;
  result: KeptResult;
  original: HuggingFaceCheckpoint;
  /** The compressed model. */
  open: () => Promise<HuggingFaceCheckpoint>;
}

/**
 * Keeps a model of the visitor's and its result as checkpoints in the browser's own files: those that were dropped may not be read again
 * after a reload. Throws where the browser has no such files, or no room.
 */
export async function keepModel(request: KeepRequest): Promise<void> {
  const { own, result, original, model, originalIsKept, signal } = request;
  const forget = originalIsKept ? forgetResult : forgetModel;
  await forget();
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle(folderName, { create: true });
  try {
    for (const [name, source] of Object.entries({ ...(!originalIsKept && { original }), result: model })) {
      const target = await folder.getDirectoryHandle(name, { create: true });
      for (const file of await checkpointFiles(source, name, { source: original, signal }))
        await writeInto(target, file);
    }
    const text = new TextEncoder().encode(JSON.stringify({ own, result }));
    // The record last: without it nothing counts as kept.
    await writeInto(folder, { name: recordName, byteLength: text.length, write: (sink) => sink.write(text) });
  } catch (error) {
    await forget();
    throw error;
  }
}

/** What an earlier visit kept; undefined where nothing is, or where the browser keeps nothing. */
export async function readKeptModel(): Promise<KeptModel | undefined> {
  try {
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle(folderName);
    const record = await (await folder.getFileHandle(recordName)).getFile();
    const { own, result } = JSON.parse(await record.text()) as Pick<KeptModel, 'own' | 'result'>;
    const open = async (name: string) => openSource(await filesBelow(await folder.getDirectoryHandle(name)));
    return { own, result, original: await open('original'), open: () => open('result') };
  } catch {
    // No files of its own, none of this page, or half of them.
    return undefined;
  }
}

export async function forgetModel(): Promise<void> {
  const root = await navigator.storage?.getDirectory?.();
  await root?.removeEntry(folderName, { recursive: true }).catch(() => undefined);
}

async function forgetResult(): Promise<void> {
  const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle(folderName);
  for (const name of [recordName, 'result']) {
    await folder.removeEntry(name, { recursive: true }).catch(() => undefined);
  }
}

async function filesBelow(folder: FileSystemDirectoryHandle, path = folder.name): Promise<BrowserFile[]> {
  const files: BrowserFile[] = [];
  for await (const entry of folder.values()) {
    const entryPath = `${path}/${entry.name}`;
    if (entry instanceof FileSystemDirectoryHandle) files.push(...(await filesBelow(entry, entryPath)));
    else {
      const file = await entry.getFile();
      const slice = (start: number, end: number) => file.slice(start, end);
      files.push({ name: file.name, size: file.size, webkitRelativePath: entryPath, slice });
    }
  }
  return files;
}
