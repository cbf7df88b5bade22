import { type DenseTensor, KvlrError, type ModelSource } from '@kvlr/core';
import { fingerprint, overlayTrained } from '../trained-model.ts';
import type { LowRankUpdate } from '../training/low-rank-adapters.ts';
import { type TrainingTarget, weightRole } from '../training/targets.ts';

/** Low-rank adapters of a whole model (LoRA, Hu et al. 2021, arXiv 2106.09685). */
export interface Adapter {
  rank: number;
  /** What A B gives is multiplied by alpha / rank. */
  alpha: number;
  /** What they were trained with. */
  dropout: number;
  /** A and B of each layer, by projection. */
  layers: readonly ReadonlyMap<TrainingTarget, LowRankUpdate>[];
}

/** The projections that an adapter changes anywhere. */
export function targetsOf({ layers }: Pick<Adapter, 'layers'>): TrainingTarget[] {
  return [...new Set(layers.flatMap((layer) => [...layer.keys()]))];
}

/**
 * The model with what an adapter adds in its matrices, W + alpha / rank x (A B): its logits are those of the adapted model up to
 * rounding in float32.
 *
 * @throws KvlrError 'invalid-argument' where the adapter does not fit the model.
 */
export async function mergeAdapter(model: ModelSource, adapter: Adapter): Promise<ModelSource> {
  const tensors = new Map<string, DenseTensor>();
  requireFit(model, adapter);
  for (const [layer, updates] of adapter.layers.entries()) {
    for (const [target, update] of updates) {
      const name = model.tensorName(weightRole(target), layer);
      const { shape } = model.tensors.info(name);
      const data = Float32Array.from(await model.tensors.readFloat32(name));
      addProduct(data, update, adapter.alpha / adapter.rank);
      tensors.set(name, { shape: [...shape], data });
    }
  }
  return overlayTrained(model, tensors, fingerprint(tensors));
}

/** Throws 'invalid-argument' for what is no adapter, and unless every A [rank, in] and B [out, rank] fits the matrix [out, in] it belongs to. */
export function requireFit(model: ModelSource, adapter: Pick<Adapter, 'rank' | 'layers'> & Partial<Adapter>): void {
  const { rank, alpha = 1, layers } = Object(adapter) as Adapter;
  const isPositive = Number.isInteger(rank) && rank > 0 && Number.isFinite(alpha) && alpha > 0;
  if (!isPositive || !Array.isArray(layers) || !layers.every((layer) => layer instanceof Map)) {
    throw new KvlrError('invalid-argument', {
      message: `expected an adapter with a rank and an alpha above 0 and its layers, got rank ${rank} and alpha ${alpha}`,
      where: { argument: 'adapter' },
      data: { rank, alpha },
    });
  }
  const { numLayers } = model.shape;
  if (layers.length !== numLayers) {
    throw new KvlrError('invalid-argument', {
      message: `expected adapters of ${numLayers} layers, got ${layers.length}`,
      hint: 'Give the model that the adapter was made for.',
      where: { argument: 'adapter' },
      data: { expected: numLayers, received: layers.length },
    });
  }
  for (const [layer, updates] of layers.entries()) {
    for (const [target, { down, up }] of updates) {
      const name = model.tensorName(weightRole(target), layer);
      const [outputs, width] = model.tensors.info(name).shape as [number, number];
      if (isMatrix(down, rank, width) && isMatrix(up, outputs, rank)) continue;
      throw new KvlrError('invalid-argument', {
        message: `expected an adapter of [${rank}, ${width}] and [${outputs}, ${rank}], got [${down.shape}] and [${up.shape}]`,
        hint: 'Give the rank of the adapter, and the model it was made for.',
        where: { argument: 'adapter', layer, tensor: name },
        data: { rank, down: down.shape, up: up.shape },
      });
    }
  }
}

function isMatrix({ shape, data }: DenseTensor, rows: number, columns: number): boolean {
  return shape.join() === `${rows},${columns}` && data.length === rows * columns;
}

/** Adds scale x B A to a matrix [out, in]; sums in float64. */
function addProduct(matrix: Float32Array, { down, up }: LowRankUpdate, scale: number): void {
  const [rank, width] = down.shape as [number, number];
  const [outputs] = up.shape as [number, number];
  for (let output = 0; output < outputs; output++) {
    const row = new Float64Array(width);
    for (let inner = 0; inner < rank; inner++) {
      const factor = scale * up.data[output * rank + inner]!;
      for (let input = 0; input < width; input++) row[input]! += factor * down.data[inner * width + input]!;
    }
    for (let input = 0; input < width; input++) matrix[output * width + input]! += row[input]!;
  }
}
