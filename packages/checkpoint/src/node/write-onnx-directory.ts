import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type ModelSource, throwIfAborted } from '@kvlr/core';
import type { HuggingFaceCheckpoint } from '../model/open-checkpoint.ts';
import { type OnnxSettings, onnxFiles } from '../onnx/onnx-files.ts';
import { onnxSmallFiles } from '../onnx/onnx-small-files.ts';
import { checkFreeSpace } from './check-free-space.ts';
import { fillFile } from './fill-file.ts';
import { replacePath } from './replace-path.ts';

export interface WriteOnnxSettings extends OnnxSettings {
  overwrite?: boolean;
}

/**
 * Writes a model as the directory that transformers.js loads: config, generation config and tokenizer, and the graph in
 * `onnx/`; see `onnxFiles`. `source` gives config and tokenizer. The directory appears only when complete.
 * Throws 'unsupported-feature', 'file-missing' (no tokenizer.json), 'file-exists', 'disk-full', 'write-failed', 'numerical',
 * 'aborted'.
 */
export async function writeOnnxDirectory(
  directory: string,
  model: ModelSource,
  source: HuggingFaceCheckpoint,
  settings: WriteOnnxSettings = {},
): Promise<void> {
  const files = onnxFiles(model, settings);
  const smallFiles = await onnxSmallFiles(model, source, files, settings.dtype ?? 'F32');
  await replacePath(directory, { kind: 'directory', overwrite: settings.overwrite }, async (temporary) => {
    await checkFreeSpace(
      temporary,
      files.reduce((sum, { byteLength }) => sum + byteLength, 0),
    );
    await mkdir(join(temporary, 'onnx'));
    for (const file of files) await fillFile(join(temporary, 'onnx', file.name), (sink) => file.write(sink));
    for (const [name, bytes] of Object.entries(smallFiles)) {
      await fillFile(join(temporary, name), (sink) => sink.write(bytes));
    }
    throwIfAborted(settings.signal);
  });
}
