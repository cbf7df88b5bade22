import type { AttentionWeights, CompressedLayer, DenseTensor, TensorBundle } from '@kvlr/core';

type LayerHeader = Pick<CompressedLayer, 'layer' | 'groups' | 'queryOrder' | 'layout'>;

const weightNames = [
  'query',
  'key',
  'value',
  'output',
  'queryBias',
  'keyBias',
  'valueBias',
  'outputBias',
] as const satisfies readonly (keyof AttentionWeights)[];
const latentNames = ['encoder', 'queryEncoder'] as const;
const rebuiltName = 'keyDecoder';

/** Compressed layers as tensors (F64, flat, `layers.{position}.{part}`) and one JSON header. */
export function compressedLayersToBundle(layers: readonly CompressedLayer[]): TensorBundle {
  const tensors = new Map<string, DenseTensor>();
  const add = (name: string, data: Float64Array | undefined): void => {
    if (data !== undefined) tensors.set(name, { shape: [data.length], data });
  };
  layers.forEach((layer, position) => {
    for (const part of weightNames) add(`layers.${position}.${part}`, layer.weights[part]);
    for (const part of latentNames) add(`layers.${position}.${part}`, layer.latentKeys?.[part]);
    add(`layers.${position}.${rebuiltName}`, layer.rebuiltKeys?.decoder);
  });
  const headers: LayerHeader[] = layers.map(({ layer, groups, queryOrder, layout }) => {
    return { layer, groups, queryOrder, layout };
  });
  return { metadata: { layers: JSON.stringify(headers) }, tensors };
}

/** The inverse of `compressedLayersToBundle`. */
export function compressedLayersFromBundle(bundle: TensorBundle): CompressedLayer[] {
  const headers = JSON.parse(bundle.metadata.layers ?? '[]') as LayerHeader[];
  return headers.map((header, position) => {
    const part = (name: string): Float64Array | undefined => {
      const data = bundle.tensors.get(`layers.${position}.${name}`)?.data;
      return data === undefined ? undefined : Float64Array.from(data);
    };
    const weights: Partial<AttentionWeights> = {};
    for (const name of weightNames) {
      const data = part(name);
      if (data !== undefined) weights[name] = data;
    }
    const encoder = part('encoder');
    const queryEncoder = part('queryEncoder');
    const decoder = part(rebuiltName);
    return {
      ...header,
      weights: weights as AttentionWeights,
      ...(encoder && queryEncoder ? { latentKeys: { encoder, queryEncoder } } : {}),
      ...(decoder && { rebuiltKeys: { decoder } }),
    };
  });
}
