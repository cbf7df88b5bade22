import { join } from 'node:path';
import { type ModelSource, type RunControl, type TensorDtype, throwIfAborted } from '@kvlr/core';
import { findArchitecture } from '../architectures/find-architecture.ts';
import { configFromModelShape } from '../config/config-from-model-shape.ts';
import type { WeightDtype } from '../dtypes/encode-floats.ts';
import { auxiliaryFiles } from '../files/auxiliary-files.ts';
import { checkTensors } from '../model/check-tensors.ts';
import type { HuggingFaceCheckpoint } from '../model/open-checkpoint.ts';
import { encodeSafetensorsHeader, type TensorPlan, tensorByteLength } from '../safetensors/encode-safetensors.ts';
import { planShards, type Shard, shardIndex } from '../safetensors/plan-shards.ts';
import { planTensors } from '../safetensors/plan-tensors.ts';
import { readTensorAs } from '../safetensors/read-tensor-as.ts';
import { checkFreeSpace } from './check-free-space.ts';
import { fillFile } from './fill-file.ts';
import { replacePath } from './replace-path.ts';

export interface WriteCheckpointSettings extends RunControl {
  /**
   * The checkpoint that the model was made from: gives config, tokenizer and other files, and the types of the weights.
   * Without it the config is written from the model's shape alone.
   */
  source?: HuggingFaceCheckpoint;
  /** One type for all weights; by default each weight keeps the type it has in the source. */
  dtype?: WeightDtype;
  /** Weights beyond this go into further files. Default 5 GB, as transformers has it. */
  maxShardBytes?: number;
  overwrite?: boolean;
  /** Further files, for example the recipe and a model card, by name. */
  extraFiles?: Readonly<Record<string, string | Uint8Array>>;
}

const transformersDtypeNames: Partial<Record<TensorDtype, string>> = {
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
};

/**
 * Writes a model as a Hugging Face checkpoint directory: tensors one at a time (unchanged ones bit for bit), config with
 * the new heads, the source's tokenizer and generation files. The directory appears only when complete.
 * Throws 'file-exists', 'disk-full', 'write-failed', 'aborted', 'numerical' (a weight too large for the type),
 * 'unsupported-feature' (a shape that the family's config cannot express).
 */
export async function writeCheckpointDirectory(
  directory: string,
  model: ModelSource,
  settings: WriteCheckpointSettings = {},
): Promise<void> {
  const { source } = settings;
  checkTensors(model, directory);
  const plan = planTensors(model, settings);
  const shards = planShards(plan, settings.maxShardBytes ?? 5_000_000_000);
  const files = { ...(await smallFiles(model, plan, shards, source)), ...settings.extraFiles };
  const totalBytes = plan.reduce((sum, { dtype, shape }) => sum + tensorByteLength(dtype, shape), 0);

  await replacePath(directory, { kind: 'directory', overwrite: settings.overwrite }, async (temporary) => {
    await checkFreeSpace(temporary, totalBytes);
    const progress = createProgress(totalBytes, settings);
    for (const shard of shards) await writeShard(temporary, shard, model, progress);
    for (const [name, content] of Object.entries(files)) {
      const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
      await fillFile(join(temporary, name), (sink) => sink.write(bytes));
    }
    throwIfAborted(settings.signal);
  });
}

async function writeShard(
  directory: string,
  { file, tensors }: Shard,
  model: ModelSource,
  progress: (bytes: number, name: string) => void,
): Promise<void> {
  await fillFile(join(directory, file), async (sink) => {
    await sink.write(encodeSafetensorsHeader(tensors, { format: 'pt' }));
    for (const { name, dtype } of tensors) {
      const bytes = await readTensorAs(model.tensors, name, dtype);
      await sink.write(bytes);
      progress(bytes.length, name);
    }
  });
}

async function smallFiles(
  model: ModelSource,
  plan: readonly TensorPlan[],
  shards: readonly Shard[],
  source: HuggingFaceCheckpoint | undefined,
): Promise<Record<string, string | Uint8Array>> {
  const architecture = source?.architecture ?? findArchitecture(model.shape.architecture);
  const queryName = model.tensorName('queryWeight', 0);
  const weightDtype = plan.find(({ name }) => name === queryName)!.dtype;
  const dtypeName = transformersDtypeNames[weightDtype] ?? 'float32';
  const config = configFromModelShape(model.shape, architecture, dtypeName, source?.config);
  return {
    ...(source === undefined ? {} : await auxiliaryFiles(source.files)),
    'config.json': json(config),
    ...(shards.length > 1 ? { 'model.safetensors.index.json': json(shardIndex(shards)) } : {}),
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

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
