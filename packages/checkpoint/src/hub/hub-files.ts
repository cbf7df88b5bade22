import type { CheckpointFiles } from '../files/checkpoint-files.ts';
import { fileMissing, fileTruncated } from '../files/file-errors.ts';
import { isCheckpointFile } from './checkpoint-file-names.ts';
import { type HubAccess, hubParameters } from './hub-access.ts';
import { hubError } from './hub-error.ts';
import { requireHubId } from './hub-id.ts';

/**
 * The files of a model on the Hugging Face hub (owner/name, or owner/name@revision), each read taking only its byte range
 * over the network. Nothing is kept: in Node, `downloadHubModel` keeps what it loads.
 * Reads throw 'access-denied', 'file-missing', 'file-truncated', 'network', 'aborted'.
 */
export function createHubFiles(id: string, access: HubAccess = {}): CheckpointFiles {
  const { name: repo, revision } = requireHubId(id);
  const parameters = { repo, revision, ...hubParameters(access) };
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
      const { listFiles } = await import('@huggingface/hub');
      const found = new Map<string, number>();
      for await (const { type, path, size } of listFiles(parameters)) {
        if (type === 'file' && isCheckpointFile(path)) found.set(path, size);
      }
      return found;
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
      const blob = await downloadFile({ ...parameters, path: name });
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
