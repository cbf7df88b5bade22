import { type CompressionMethod, compressLayer, readAttentionWeights } from '@kvlr/compression';
import {
  type AttentionWeights,
  type CachedKeys,
  type CalibrationStatistics,
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
import type { Recordings } from './statistics.ts';

export interface FactorsRequest {
  model: ModelSource;
  statistics: CalibrationStatistics;
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

/** Stage 4: the closed-form factors of every layer, folded into its projections. */
export function computeFactors(context: RunContext, request: FactorsRequest): Promise<CompressedLayer[]> {
  const { model, statistics, groups, method, headWidth, ranks, key } = request;
  const { shape } = model;
  const stage = {
    stage: 'factors' as const,
    title: `Low-rank factors, folded: ${method.title}`,
    name: artefactNames.factors,
    key,
    codec: compressedLayersCodec,
  };
  return context.cached(stage, async (running) => {
    const attended = method.needsAttendedMoments ? await request.attendedMoments(groups, running.control) : undefined;
    const layers: CompressedLayer[] = [];
    for (let layer = 0; layer < shape.numLayers; layer++) {
      throwIfAborted(context.signal);
      layers.push(
        compressLayer({
          shape,
          layer,
          weights: await readAttentionWeights(model, layer),
          statistics: statistics.layers[layer],
          attended: attended?.[layer],
          groups: groups[layer]!,
          method,
          headWidth,
          ranks: ranks?.[layer],
        }),
      );
      running.progress(layer + 1, shape.numLayers, 'layers');
    }
    return layers;
  });
}

/** Compressed layers as tensors (F64, flat, `layers.{position}.{part}`) and one JSON header. */
const compressedLayersCodec = bundleCodec<CompressedLayer[]>(
  (layers) => {
    const tensors: TensorBundle['tensors'] = new Map();
    const headers = layers.map(({ weights, keys, ...header }, position) => {
      const { kind, ...keyMatrices } = keys;
      for (const [part, data] of Object.entries({ ...weights, ...keyMatrices })) {
        if (data !== undefined) tensors.set(`layers.${position}.${part}`, { shape: [data.length], data });
      }
      return { ...header, kind, keyParts: Object.keys(keyMatrices) };
    });
    return { metadata: { layers: JSON.stringify(headers) }, tensors };
  },
  ({ metadata, tensors }) => {
    const headers: (Omit<CompressedLayer, 'weights' | 'keys'> & { kind: CachedKeys['kind']; keyParts: string[] })[] =
      JSON.parse(metadata.layers ?? '[]');
    return headers.map(({ kind, keyParts, ...header }, position) => {
      const read = (parts: readonly string[]) =>
        Object.fromEntries(
          parts.flatMap((part) => {
            const tensor = tensors.get(`layers.${position}.${part}`);
            return tensor ? [[part, Float64Array.from(tensor.data)]] : [];
          }),
        );
      return {
        ...header,
        keys: { kind, ...read(keyParts) } as CachedKeys,
        weights: read(Object.keys(rolesOfAttentionWeights)) as unknown as AttentionWeights,
      };
    });
  },
);
