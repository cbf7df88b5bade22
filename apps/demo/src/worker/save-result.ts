import {
  type ByteSink,
  type CheckpointFile,
  checkpointFiles,
  encodeGguf,
  type HuggingFaceCheckpoint,
} from '@kvlr/checkpoint';
import type { ModelSource, RunControl } from '@kvlr/core';
import { makeZip } from 'client-zip';
import type { SavedForm, SaveTarget } from '../messages.ts';

interface SaveRequest extends RunControl {
  model: ModelSource;
  original: HuggingFaceCheckpoint;
  /** Of the file, without its ending. */
  name: string;
  form: SavedForm;
  target: SaveTarget;
}

interface Saved {
  fileName: string;
  /** What the page is to hand out itself; undefined where it went to disk. */
  blob: Blob | undefined;
}

/** Writes a result: tensor by tensor to disk where the browser lets pages write there, else into memory. */
export async function saveResult(request: SaveRequest): Promise<Saved> {
  const { model, original, name, form, target, onEvent, signal } = request;
  if (form === 'gguf') {
    const sink = await openSink(target);
    await finishing(sink, () => encodeGguf(model, original, sink, { name, dtype: 'F16', onEvent, signal }));
    return { fileName: `${name}.gguf`, blob: sink.blob('application/octet-stream') };
  }
  const files = await checkpointFiles(model, name, { source: original, onEvent, signal });
  if (target.kind === 'folder') {
    for (const file of files) await writeInto(target.handle, file);
    return { fileName: target.handle.name, blob: undefined };
  }
  const sink = await openSink(target);
  await finishing(sink, () => writeZip(files, sink));
  return { fileName: `${name}.zip`, blob: sink.blob('application/zip') };
}

/** The files of a checkpoint as one archive, uncompressed: weights do not shrink. */
async function writeZip(files: readonly CheckpointFile[], sink: ByteSink): Promise<void> {
  const entries = files.map((file) => ({ name: file.name, size: BigInt(file.byteLength), input: streamOf(file) }));
  const reader = makeZip(entries).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    await sink.write(value);
  }
}

/** What a file writes, as a stream that waits for its reader: one tensor is in memory. */
function streamOf(file: CheckpointFile): ReadableStream<Uint8Array> {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  file.write({ write: (bytes) => writer.write(bytes) }).then(
    () => writer.close(),
    (error) => writer.abort(error),
  );
  return readable;
}

/** Writes a file below a folder, in folders of its own where its name has them. */
export async function writeInto(folder: FileSystemDirectoryHandle, file: CheckpointFile): Promise<void> {
  const [fileName, ...parents] = file.name.split('/').reverse();
  let parent = folder;
  for (const name of parents.reverse()) parent = await parent.getDirectoryHandle(name, { create: true });
  const sink = await openSink({ kind: 'file', handle: await parent.getFileHandle(fileName!, { create: true }) });
  await finishing(sink, () => file.write(sink));
}

interface FinishedSink extends ByteSink {
  close(): Promise<void>;
  /** Lets go of what was written; a file that was there before stays as it was. */
  abort(): Promise<void>;
  blob(type: string): Blob | undefined;
}

async function finishing(sink: FinishedSink, write: () => Promise<void>): Promise<void> {
  try {
    await write();
    await sink.close();
  } catch (error) {
    await sink.abort();
    throw error;
  }
}

async function openSink(target: SaveTarget): Promise<FinishedSink> {
  if (target.kind === 'file') {
    const stream = await target.handle.createWritable();
    return {
      write: (bytes) => stream.write(bytes as Uint8Array<ArrayBuffer>),
      close: () => stream.close(),
      abort: () => stream.abort(),
      blob: () => undefined,
    };
  }
  const parts: BlobPart[] = [];
  return {
    async write(bytes) {
      // As blobs, which a browser may keep on disk.
      parts.push(new Blob([bytes as Uint8Array<ArrayBuffer>]));
    },
    close: async () => {},
    abort: async () => {},
    blob: (type) => new Blob(parts, { type }),
  };
}
