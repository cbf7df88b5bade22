import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type ModelSource, type RunControl, throwIfAborted } from '@kvlr/core';
import type { ArchitectureDescriptor } from '../architectures/architecture.ts';
import { findArchitecture } from '../architectures/families.ts';
import { configFromModelShape } from '../config/write-config.ts';
import { tensorByteLength, torchDtypeName, type WeightDtype } from '../dtypes.ts';
import { auxiliaryFiles, readSpelledJson } from '../files/files.ts';
import { formatJson } from '../files/json.ts';
import { type GgufSettings, ggufBytes, planGguf, writePlanned } from '../gguf/export.ts';
import { checkModel } from '../model/checkpoint-tensors.ts';
import type { HuggingFaceCheckpoint } from '../model/open.ts';
import { tensorLayout } from '../model/stored-tensors.ts';
import { type PlannedTensor, planTensors } from '../model/written-tensors.ts';
import { type OnnxSettings, onnxFiles, onnxSmallFiles } from '../onnx/files.ts';
import { encodeSafetensorsHeader, planShards, type Shard, shardIndex } from '../safetensors/write.ts';
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

export interface WriteCheckpointSettings extends RunControl, PlaceSettings {
  /**
   * The checkpoint that the model was made from: gives config, tokenizer and other files, and the types of the weights.
   * Without it the config is written from the model's shape alone.
   */
  source?: HuggingFaceCheckpoint;
  /** One type for all weights; by default each weight keeps the type it has in the source. */
  dtype?: WeightDtype;
  /** Weights beyond this go into further files. Default 5 GB, as transformers has it. */
  maxShardBytes?: number | undefined;
  /** Further files, for example the recipe and a model card, by name. */
  extraFiles?: Readonly<Record<string, string | Uint8Array>>;
}

/**
 * Writes a model as a Hugging Face checkpoint directory: tensors one at a time (unchanged ones bit for bit), config with
 * the new heads, the source's tokenizer and generation files. The directory appears only when complete.
 * Throws 'usage' (the place of `source`), 'file-exists', 'in-use', 'disk-full', 'write-failed', 'aborted', 'numerical' (a weight too large for the type),
 * 'unsupported-feature' (a shape that the family's config cannot express).
 */
export async function writeCheckpointDirectory(
  directory: string,
  model: ModelSource,
  settings: WriteCheckpointSettings = {},
): Promise<void> {
  const { source } = settings;
  checkModel(model, directory);
  const architecture = source?.architecture ?? findArchitecture(model.shape.architecture);
  const layout = source?.layout ?? tensorLayout(architecture, model.shape.head.tied);
  const plan = planTensors(model, { source, dtype: settings.dtype, layout });
  const shards = planShards(plan, settings.maxShardBytes ?? 5_000_000_000);
  const files = { ...(await smallFiles(model, architecture, plan, shards, source)), ...settings.extraFiles };
  const totalBytes = plan.reduce((sum, { dtype, shape }) => sum + tensorByteLength(dtype, shape), 0);

  await replacePath(directory, placeOf('directory', settings, source), async (temporary) => {
    await checkFreeSpace(temporary, totalBytes);
    const progress = createProgress(totalBytes, settings);
    for (const shard of shards) await writeShard(temporary, shard, progress);
    for (const [name, content] of Object.entries(files)) {
      const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
      await mkdir(dirname(join(temporary, name)), { recursive: true });
      await fillFile(join(temporary, name), (sink) => sink.write(bytes));
    }
    throwIfAborted(settings.signal);
  });
}

async function writeShard(
  directory: string,
  { file, tensors }: Shard<PlannedTensor>,
  progress: (bytes: number, name: string) => void,
): Promise<void> {
  await fillFile(join(directory, file), async (sink) => {
    await sink.write(encodeSafetensorsHeader(tensors, { format: 'pt' }));
    for (const { name, read } of tensors) {
      const bytes = await read();
      await sink.write(bytes);
      progress(bytes.length, name);
    }
  });
}

async function smallFiles(
  model: ModelSource,
  architecture: ArchitectureDescriptor,
  plan: readonly PlannedTensor[],
  shards: readonly Shard[],
  source: HuggingFaceCheckpoint | undefined,
): Promise<Record<string, string | Uint8Array>> {
  const { dtype } = plan.find(({ parts }) => parts.some(({ role }) => role === 'queryWeight'))!;
  const config = configFromModelShape(model.shape, architecture, torchDtypeName(dtype), source?.config);
  return {
    ...(source === undefined ? {} : await auxiliaryFiles(source.files)),
    'config.json': formatJson(config, source && (await readSpelledJson(source.files, 'config.json'))),
    ...(shards.length > 1 ? { 'model.safetensors.index.json': formatJson(shardIndex(shards)) } : {}),
  };
}

function createProgress(total: number, { onEvent, signal }: RunControl): (bytes: number, name: string) => void {
  let completed = 0;
  return (bytes, detail) => {
    throwIfAborted(signal);
    completed += bytes;
    onEvent?.({ type: 'progress', stage: 'write', completed, total, unit: 'bytes', detail });
  };
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
  await replacePath(path, placeOf('file', settings, source), async (temporary) => {
    await checkFreeSpace(temporary, ggufBytes(plan.tensors));
    await fillFile(temporary, (sink) => writePlanned(plan, sink, settings));
  });
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
