import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type ModelSource, type RunControl, throwIfAborted } from '@kvlr/core';
import { type GgufSettings, ggufBytes, planGguf, writePlanned } from '../gguf/export.ts';
import { type CheckpointFilesSettings, checkpointFiles } from '../model/checkpoint-files.ts';
import type { HuggingFaceCheckpoint } from '../model/open.ts';
import { type OnnxSettings, onnxFiles, onnxSmallFiles } from '../onnx/files.ts';
import { onnxContext } from '../onnx/positions.ts';
import type { PlaceClaim } from './claim.ts';
import { checkFreeSpace, fillFile, type ReplaceSettings, replacePath } from './replace.ts';

interface PlaceSettings {
  /** Replace what kvlr wrote there before; anything else is never replaced. */
  overwrite?: boolean | undefined;
  /** The place, where the caller holds it already. */
  claim?: PlaceClaim | undefined;
}

/** A place apart from the checkpoint that is read. */
function placeOf(
  kind: ReplaceSettings['kind'],
  { overwrite, claim }: PlaceSettings,
  source: HuggingFaceCheckpoint | undefined,
): ReplaceSettings {
  return { kind, overwrite, claim, apartFrom: source ? [{ name: 'the model', path: source.location }] : [] };
}

export interface WriteCheckpointSettings extends CheckpointFilesSettings, PlaceSettings {}

/**
 * Writes a model as a Hugging Face checkpoint directory, see `checkpointFiles`. The directory appears only when complete.
 * Throws 'usage' (the place of `source`), 'file-exists', 'in-use', 'disk-full', 'write-failed', 'aborted', 'numerical' (a weight too large for the type),
 * 'unsupported-feature' (a shape that the family's config cannot express).
 */
export async function writeCheckpointDirectory(
  directory: string,
  model: ModelSource,
  settings: WriteCheckpointSettings = {},
): Promise<void> {
  const files = await checkpointFiles(model, directory, settings);
  await replacePath(directory, placeOf('directory', settings, settings.source), async (temporary) => {
    await checkFreeSpace(
      temporary,
      files.reduce((sum, { byteLength }) => sum + byteLength, 0),
    );
    for (const { name, write } of files) {
      await mkdir(dirname(join(temporary, name)), { recursive: true });
      await fillFile(join(temporary, name), write);
    }
    throwIfAborted(settings.signal);
  });
}

export interface WriteGgufSettings extends GgufSettings, PlaceSettings {}

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
  const plan = await planGguf(model, source, settings);
  sayContext(model, plan.context, 'llama.cpp has no sliding windows in this architecture', settings);
  await replacePath(path, placeOf('file', settings, source), async (temporary) => {
    await checkFreeSpace(temporary, ggufBytes(plan.tensors));
    await fillFile(temporary, (sink) => writePlanned(plan, sink, settings));
  });
}

function sayContext({ shape }: ModelSource, context: number, why: string, { onEvent }: RunControl): void {
  if (context >= shape.maxPositionEmbeddings) return;
  const message = `The context of the export ends at ${context} of ${shape.maxPositionEmbeddings} tokens: ${why}.`;
  onEvent?.({ type: 'warning', message });
}

export interface WriteOnnxSettings extends OnnxSettings, PlaceSettings {}

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
  const why = 'the rotary frequencies of longer texts are others, and a graph has one table';
  sayContext(model, onnxContext(model.shape), why, settings);
  await replacePath(directory, placeOf('directory', settings, source), async (temporary) => {
    await checkFreeSpace(
      temporary,
      files.reduce((sum, { byteLength }) => sum + byteLength, 0),
    );
    await mkdir(join(temporary, 'onnx'));
    for (const file of files) await fillFile(join(temporary, 'onnx', file.name), (sink) => file.write(sink));
    for (const [name, bytes] of Object.entries(smallFiles)) {
      await mkdir(dirname(join(temporary, name)), { recursive: true });
      await fillFile(join(temporary, name), (sink) => sink.write(bytes));
    }
    throwIfAborted(settings.signal);
  });
}
