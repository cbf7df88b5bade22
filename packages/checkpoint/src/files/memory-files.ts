import type { CheckpointFiles } from './checkpoint-files.ts';
import { fileMissing } from './file-errors.ts';
import { sliceBytes } from './slice-bytes.ts';

/** Checkpoint files held in memory, by name. Strings are stored as UTF-8. */
export function createMemoryFiles(
  contents: Readonly<Record<string, Uint8Array | string>>,
  location = 'memory',
): CheckpointFiles {
  const files = new Map(
    Object.entries(contents).map(([name, content]) => [
      name,
      typeof content === 'string' ? new TextEncoder().encode(content) : content,
    ]),
  );
  const contentOf = (name: string): Uint8Array => {
    const bytes = files.get(name);
    if (bytes === undefined) throw fileMissing(location, name);
    return bytes;
  };
  return {
    location,
    list: async () => [...files.keys()],
    size: async (name) => contentOf(name).length,
    read: async (name, start, end) => sliceBytes(location, name, contentOf(name), start, end),
  };
}
