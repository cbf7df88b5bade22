import type { ModelSource } from '@kvlr/core';
import { encodeGguf, type GgufSettings } from '../gguf/encode-gguf.ts';
import type { HuggingFaceCheckpoint } from '../model/open-checkpoint.ts';
import { plannedBytes } from '../safetensors/plan-tensors.ts';
import { checkFreeSpace } from './check-free-space.ts';
import { fillFile } from './fill-file.ts';
import { replacePath } from './replace-path.ts';

export interface WriteGgufSettings extends GgufSettings {
  overwrite?: boolean;
}

/**
 * Writes a model as a GGUF file that appears only when complete; see `encodeGguf`.
 * Throws 'file-exists', 'disk-full', 'write-failed', 'aborted' besides.
 */
export async function writeGguf(
  path: string,
  model: ModelSource,
  source: HuggingFaceCheckpoint,
  settings: WriteGgufSettings = {},
): Promise<void> {
  await replacePath(path, { kind: 'file', overwrite: settings.overwrite }, async (temporary) => {
    await checkFreeSpace(temporary, plannedBytes(model, { dtype: settings.dtype ?? 'F32' }));
    await fillFile(temporary, (sink) => encodeGguf(model, source, sink, settings));
  });
}
