import {
  type CheckpointFiles,
  decodeFloats,
  encodeTensorBundle,
  parseSafetensorsHeader,
  readJsonObject,
  safetensorsHeaderLength,
} from '@kvlr/checkpoint';
import { type DenseTensor, KvlrError, type ModelSource } from '@kvlr/core';
import type { LowRankUpdate } from '../training/low-rank-adapters.ts';
import { type TrainingTarget, trainingTargets, weightRole } from '../training/targets.ts';
import { type Adapter, requireFit } from './adapter.ts';

/** The files of an adapter as Hugging Face's peft writes and reads them. */
export const peftFileNames = { config: 'adapter_config.json', tensors: 'adapter_model.safetensors' } as const;

/**
 * An adapter as the files that peft loads over the model, by name.
 *
 * @param baseModel Where the model can be had: a hub id or a path, for `base_model_name_or_path`.
 * @throws KvlrError 'invalid-argument' where the adapter does not fit; 'unsupported-feature' for families whose projections lie together in one matrix of their files.
 */
export function encodePeftAdapter(
  adapter: Adapter,
  model: ModelSource,
  baseModel: string,
): Record<(typeof peftFileNames)[keyof typeof peftFileNames], Uint8Array> {
  requireFit(model, adapter);
  const tensors = new Map<string, DenseTensor>();
  const modules = new Set<string>();
  for (const [layer, updates] of adapter.layers.entries()) {
    for (const [target, { down, up }] of updates) {
      const path = moduleOf(model, target, layer);
      modules.add(path.split('.').at(-1)!);
      tensors.set(`${prefix}${path}.lora_A.weight`, down);
      tensors.set(`${prefix}${path}.lora_B.weight`, up);
    }
  }
  const config = {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: baseModel,
    r: adapter.rank,
    lora_alpha: adapter.alpha,
    lora_dropout: adapter.dropout,
    target_modules: [...modules],
    bias: 'none',
    fan_in_fan_out: false,
    inference_mode: true,
    modules_to_save: null,
  };
  return {
    [peftFileNames.config]: new TextEncoder().encode(`${JSON.stringify(config, undefined, 2)}\n`),
    [peftFileNames.tensors]: encodeTensorBundle({ metadata: { format: 'pt' }, tensors }),
  };
}

/**
 * Reads an adapter that peft or kvlr wrote, for a model.
 *
 * @throws KvlrError 'file-missing'; 'file-malformed'; 'unsupported-feature' for what is more than A and B (DoRA, trained biases,
 *   ranks that differ) and for tensors that the model has no projection for; 'invalid-argument' where sizes do not fit the model.
 */
export async function readPeftAdapter(files: CheckpointFiles, model: ModelSource): Promise<Adapter> {
  const config = await readJsonObject(files, peftFileNames.config);
  refuseOtherKinds(config, files.location);
  const { r: rank, lora_alpha: alpha = rank, lora_dropout: dropout = 0, use_rslora: byRoot } = config;
  const isPositive = (value: unknown): value is number => Number.isFinite(value) && (value as number) > 0;
  const isShare = typeof dropout === 'number' && dropout >= 0 && dropout < 1;
  if (!Number.isInteger(rank) || !isPositive(rank) || !isPositive(alpha) || !isShare) {
    const received = [rank, alpha, dropout].map((value) => JSON.stringify(value)?.slice(0, 40)).join(', ');
    throw new KvlrError('file-malformed', {
      message: `expected a rank r and lora_alpha above 0, and lora_dropout from 0 and below 1, got ${received}`,
      where: { file: peftFileNames.config },
      data: { rank, alpha, dropout },
    });
  }
  const tensors = await readTensors(files);
  const layers: Map<TrainingTarget, LowRankUpdate>[] = [];
  for (const layer of model.shape.layers.keys()) {
    const updates = new Map<TrainingTarget, LowRankUpdate>();
    for (const target of trainingTargets) {
      const path = prefix + (nameOfModule(model, target, layer) ?? '');
      const [down, up] = [tensors.get(`${path}.lora_A.weight`), tensors.get(`${path}.lora_B.weight`)];
      if (down === undefined || up === undefined) continue;
      updates.set(target, { down, up });
      for (const part of ['A', 'B']) tensors.delete(`${path}.lora_${part}.weight`);
    }
    layers.push(updates);
  }
  const [unknown] = tensors.keys();
  if (unknown !== undefined) {
    throw new KvlrError('unsupported-feature', {
      message: `expected adapters of ${trainingTargets.join(', ')} in the layers of the model, got ${unknown}`,
      hint: 'Merge this adapter with peft, and give the merged checkpoint.',
      where: { file: peftFileNames.tensors, tensor: unknown },
      data: { received: unknown },
    });
  }
  const adapter = { rank, alpha: byRoot === true ? alpha * Math.sqrt(rank) : alpha, dropout, layers };
  requireFit(model, adapter);
  return adapter;
}

/** peft wraps a model twice. */
const prefix = 'base_model.model.';

/** Kinds of adapters that are more than alpha / r x B A, by the entry that says so. */
function refuseOtherKinds(config: Record<string, unknown>, location: string): void {
  const isEmpty = (value: unknown) =>
    value == null || value === false || (typeof value === 'object' && Object.keys(value).length === 0);
  const expected: Record<string, (value: unknown) => boolean> = {
    peft_type: (value) => value === 'LORA',
    bias: (value) => value === undefined || value === 'none',
    use_dora: isEmpty,
    rank_pattern: isEmpty,
    alpha_pattern: isEmpty,
    modules_to_save: isEmpty,
  };
  for (const [entry, fits] of Object.entries(expected)) {
    if (fits(config[entry])) continue;
    throw new KvlrError('unsupported-feature', {
      message: `expected a plain LoRA adapter of one rank in ${location}, got ${entry} = ${JSON.stringify(config[entry])}`,
      hint: 'Merge this adapter with peft, and give the merged checkpoint.',
      where: { file: peftFileNames.config },
      data: { entry, received: config[entry] },
    });
  }
}

/** Path of a projection's module in the model of transformers; undefined where it has none of its own. */
function nameOfModule(model: ModelSource, target: TrainingTarget, layer: number): string | undefined {
  const role = weightRole(target);
  const { gated } = model.shape.feedForward;
  if (role === 'gateWeight' && !gated) return undefined;
  return /^(.+)\.weight$/.exec(model.tensorName(role, layer))?.[1];
}

function moduleOf(model: ModelSource, target: TrainingTarget, layer: number): string {
  const path = nameOfModule(model, target, layer);
  if (path !== undefined) return path;
  throw new KvlrError('unsupported-feature', {
    message: `expected ${target} as a module of its own, got ${model.tensorName(weightRole(target), layer)}`,
    hint: 'In this family peft adapts several projections at once; use the merged checkpoint.',
    where: { layer, argument: 'targets' },
    data: { target },
  });
}

async function readTensors(files: CheckpointFiles): Promise<Map<string, DenseTensor>> {
  const name = peftFileNames.tensors;
  const bytes = await files.read(name);
  const headerLength = safetensorsHeaderLength(bytes.subarray(0, 8), bytes.length, name);
  const header = parseSafetensorsHeader(bytes.subarray(8, 8 + headerLength), bytes.length, name);
  return new Map(
    header.tensors.map(({ name, dtype, shape, start, end }) => [
      name,
      { shape, data: decodeFloats(dtype, bytes.subarray(start, end)) },
    ]),
  );
}
