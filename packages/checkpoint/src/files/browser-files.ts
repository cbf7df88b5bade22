import type { CheckpointFiles } from './checkpoint-files.ts';
import { fileMissing, fileTruncated } from './file-errors.ts';

/** What is used of the browser's `File`. */
export interface BrowserFile {
  readonly name: string;
  readonly size: number;
  /** Path below the chosen folder, folder name first; empty when single files were chosen. */
  readonly webkitRelativePath?: string;
  slice(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> };
}

/** Checkpoint files from a file input or a dropped folder; each read takes only its byte range from disk. */
export function createBrowserFiles(chosen: Iterable<BrowserFile>, location = 'chosen files'): CheckpointFiles {
  const files = new Map<string, BrowserFile>();
  for (const file of chosen) {
    const path = file.webkitRelativePath ?? '';
    files.set(path === '' ? file.name : path.slice(path.indexOf('/') + 1), file);
  }
  const fileOf = (name: string): BrowserFile => {
    const file = files.get(name);
    if (file === undefined) throw fileMissing(location, name);
    return file;
  };
  return {
    location,
    list: async () => [...files.keys()],
    size: async (name) => fileOf(name).size,
    async read(name, start = 0, end = fileOf(name).size) {
      const file = fileOf(name);
      if (end > file.size || start > end) throw fileTruncated(location, name, end, file.size);
      return new Uint8Array(await file.slice(start, end).arrayBuffer());
    },
  };
}
