import { applyCompression } from '@kvlr/checkpoint';
import { createNormalRandom, type HeadGroups, type ModelSource } from '@kvlr/core';
import { oracleStatistics } from '@kvlr/testkit';
import { compressLayer } from '../compress-by-name.ts';
import type { CompressionMethod } from '../ports.ts';
import { readAttentionWeights, type SourceLayer } from '../source-layer.ts';

/** Random block inputs with a mean, so that centring and biases matter. */
export function randomInputs(count: number, width: number, seed: number): Float64Array[] {
  const normal = createNormalRandom(seed);
  const offset = Float64Array.from({ length: width }, () => 0.5 * normal());
  return Array.from({ length: count }, () => offset.map((entry) => entry + normal()));
}

/** A layer of a model with statistics over random block inputs. */
export async function readSourceLayer(model: ModelSource, layer: number, tokens = 64): Promise<SourceLayer> {
  const { shape } = model;
  const weights = await readAttentionWeights(model, layer);
  const inputs = randomInputs(tokens, shape.hiddenSize, 100 + layer);
  return { shape, layer, weights, statistics: oracleStatistics(shape, layer, weights, inputs) };
}

const knownLayers = new WeakMap<ModelSource, Promise<SourceLayer>[]>();

/** Every layer of a model compressed by one method, as a model again, its weights in float32. */
export async function compressModel(
  model: ModelSource,
  groups: HeadGroups,
  method: string | CompressionMethod,
  headWidth = 1,
): Promise<ModelSource> {
  const layers = knownLayers.get(model) ?? model.shape.layers.map((_, layer) => readSourceLayer(model, layer));
  knownLayers.set(model, layers);
  const compressed = (await Promise.all(layers)).map((layer) => compressLayer({ ...layer, groups, method, headWidth }));
  return applyCompression(model, compressed);
}
