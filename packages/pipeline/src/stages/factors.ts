import { type KeptLayer, keptLayer } from '@kvlr/checkpoint';
import { type CompressionMethod, compressLayer, readAttentionWeights } from '@kvlr/compression';
import {
  type AttentionWeights,
  type CachedKeys,
  type CompressedLayer,
  type LayerBudget,
  type ModelSource,
  rolesOfAttentionWeights,
  type TensorBundle,
  throwIfAborted,
} from '@kvlr/core';
import { type ArtefactKey, bundleCodec } from '../run/artefact.ts';
import type { RunContext } from '../run/context.ts';
import { artefactNames } from '../run/store.ts';
import type { Recordings } from './recordings.ts';
import type { ModelStatistics } from './statistics.ts';

export interface FactorsRequest {
  model: ModelSource;
  /** Absent where neither method nor budget asks for them. */
  statistics: ModelStatistics | undefined;
  groups: readonly number[][][];
  method: CompressionMethod;
  /** Width of the result's heads in widths of the source's. */
  headWidth: number;
  /** Numbers of keys and values of each layer, where a budget sets them apart. */
  ranks?: readonly LayerBudget[] | undefined;
  /** Asked where the method fits values to what is attended to. */
  attendedMoments: Recordings['attendedMoments'];
  key: ArtefactKey;
}

/**
 * Stage 4: the closed-form factors of every layer, folded into its projections and kept layer by layer; what is given back reads them
 * again when they are asked for.
 */
export async function computeFactors(context: RunContext, request: FactorsRequest): Promise<KeptLayer[]> {
  const { model, statistics, groups, method, headWidth, ranks, key, attendedMoments } = request;
  const { shape } = model;
  const stage = {
    stage: 'factors' as const,
    title: `Low-rank factors, folded: ${method.title}`,
    name: artefactNames.factors,
    numLayers: shape.numLayers,
    key,
    codec: compressedLayerCodec,
  };
  const outlines = new Map<number, Omit<KeptLayer, 'read'>>();
  const read = await context.cachedLayers(stage, async ({ control }, from, keep) => {
    for (let layer = from; layer < shape.numLayers; layer++) {
      throwIfAborted(context.signal);
      const ofLayer = groups[layer]!;
      const attended = method.needsAttendedMoments ? await attendedMoments(layer, ofLayer, control) : undefined;
      const compressed = compressLayer({
        ...{ shape, layer, attended, groups: ofLayer, method, headWidth },
        weights: await readAttentionWeights(model, layer),
        statistics: await statistics?.layer(layer),
        ranks: ranks?.[layer],
      });
      await keep(compressed);
      // Of what was just made nothing has to be read again but its numbers.
      const { read: _, ...outline } = keptLayer(compressed, async () => compressed);
      outlines.set(layer, outline);
    }
  });
  const layers: KeptLayer[] = [];
  for (let layer = 0; layer < shape.numLayers; layer++) {
    const readAgain = () => read(layer);
    const outline = outlines.get(layer);
    layers.push(outline ? { ...outline, read: readAgain } : keptLayer(await readAgain(), readAgain));
  }
  return layers;
}

/** A compressed layer as tensors (F32, as the model made of them holds them; flat, by the names of its parts) and a JSON header. */
const compressedLayerCodec = bundleCodec<CompressedLayer>(
  ({ weights, keys, ...header }) => {
    const { kind, ...keyMatrices } = keys;
    const tensors: TensorBundle['tensors'] = new Map();
    for (const [part, data] of Object.entries<Float64Array | undefined>({ ...weights, ...keyMatrices })) {
      if (data !== undefined) tensors.set(part, { shape: [data.length], data: Float32Array.from(data) });
    }
    return { metadata: { layer: JSON.stringify({ ...header, kind, keyParts: Object.keys(keyMatrices) }) }, tensors };
  },
  ({ metadata, tensors }) => {
    const {
      kind,
      keyParts,
      ...header
    }: Omit<CompressedLayer, 'weights' | 'keys'> & {
      kind: CachedKeys['kind'];
      keyParts: string[];
    } = JSON.parse(metadata.layer!);
    const readParts = (parts: readonly string[]) =>
      Object.fromEntries(
        parts.flatMap((part) => {
          const tensor = tensors.get(part);
          return tensor ? [[part, Float64Array.from(tensor.data)]] : [];
        }),
      );
    return {
      ...header,
      keys: { kind, ...readParts(keyParts) } as CachedKeys,
      weights: readParts(Object.keys(rolesOfAttentionWeights)) as unknown as AttentionWeights,
    };
  },
);
