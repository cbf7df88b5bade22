import { type ModelSource, type RunControl, throwIfAborted } from '@kvlr/core';
import type { ArchitectureDescriptor } from '../architectures/architecture.ts';
import { findArchitecture } from '../architectures/families.ts';
import { configFromModelShape } from '../config/write-config.ts';
import { tensorByteLength, torchDtypeName, type WeightDtype } from '../dtypes.ts';
import { auxiliaryFiles, type ByteSink, readSpelledJson } from '../files/files.ts';
import { formatJson } from '../files/json.ts';
import { encodeSafetensorsHeader, planShards, type Shard, shardIndex } from '../safetensors/write.ts';
import { checkModel } from './checkpoint-tensors.ts';
import type { HuggingFaceCheckpoint } from './open.ts';
import { tensorLayout } from './stored-tensors.ts';
import { type PlannedTensor, planTensors } from './written-tensors.ts';

export interface CheckpointFilesSettings extends RunControl {
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

/** A file of a written checkpoint: its size is known before it is written, from front to back, one tensor at a time. */
export interface CheckpointFile {
  name: string;
  byteLength: number;
  write(sink: ByteSink): Promise<void>;
}

/**
 * A model as the files of a Hugging Face checkpoint, weights first: unchanged tensors bit for bit, config with the new heads, the
 * source's tokenizer and generation files. Whoever calls writes them, into a directory or into an archive.
 * Throws 'unsupported-feature' (a shape that the family's config cannot express); writing throws 'numerical' (a weight too large for
 * the type) and 'aborted'.
 *
 * @param place Where the model lies or will lie, for messages.
 */
export async function checkpointFiles(
  model: ModelSource,
  place: string,
  settings: CheckpointFilesSettings = {},
): Promise<CheckpointFile[]> {
  const { source } = settings;
  checkModel(model, place);
  const architecture = source?.architecture ?? findArchitecture(model.shape.architecture);
  const layout = source?.layout ?? tensorLayout(architecture, model.shape.head.tied);
  const plan = planTensors(model, { source, dtype: settings.dtype, layout });
  const shards = planShards(plan, settings.maxShardBytes ?? 5_000_000_000);
  const small = { ...(await smallFiles(model, architecture, plan, shards, source)), ...settings.extraFiles };
  const progress = createProgress(weightBytes(plan), settings);
  return [
    ...shards.map((shard) => shardFile(shard, progress)),
    ...Object.entries(small).map(([name, content]) => wholeFile(name, content)),
  ];
}

function weightBytes(tensors: readonly PlannedTensor[]): number {
  return tensors.reduce((sum, { dtype, shape }) => sum + tensorByteLength(dtype, shape), 0);
}

function shardFile(
  { file, tensors }: Shard<PlannedTensor>,
  progress: (bytes: number, name: string) => void,
): CheckpointFile {
  const header = encodeSafetensorsHeader(tensors, { format: 'pt' });
  return {
    name: file,
    byteLength: header.length + weightBytes(tensors),
    async write(sink) {
      await sink.write(header);
      for (const { name, read } of tensors) {
        const bytes = await read();
        await sink.write(bytes);
        progress(bytes.length, name);
      }
    },
  };
}

function wholeFile(name: string, content: string | Uint8Array): CheckpointFile {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  return { name, byteLength: bytes.length, write: (sink) => sink.write(bytes) };
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
