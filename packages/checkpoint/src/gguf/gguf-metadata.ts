import type { DecoderShape } from '@kvlr/core';
import type { GgufFamily } from '../architectures/architecture-descriptor.ts';
import type { WeightDtype } from '../dtypes/encode-floats.ts';
import { type GgufValue, ggufFileTypes } from './gguf-format.ts';

/** Metadata that describes the decoder: sizes, heads, rotary positions. `keyValueHeads` is one count a layer. */
export function ggufModelMetadata(
  shape: DecoderShape,
  family: GgufFamily,
  settings: { name: string; dtype: WeightDtype; keyValueHeads: readonly number[] },
): Map<string, GgufValue> {
  const { architecture } = family;
  const { rope } = shape;
  const integers: Record<string, number> = {
    block_count: shape.numLayers,
    context_length: shape.maxPositionEmbeddings,
    embedding_length: shape.hiddenSize,
    vocab_size: shape.vocabSize,
    'attention.key_length': shape.headDim,
    'attention.value_length': shape.headDim,
    'rope.dimension_count': shape.headDim,
  };
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', { type: 'string', value: architecture }],
    ['general.name', { type: 'string', value: settings.name }],
    ['general.file_type', { type: 'uint32', value: ggufFileTypes[settings.dtype] }],
  ]);
  for (const [key, value] of Object.entries(integers))
    metadata.set(`${architecture}.${key}`, { type: 'uint32', value });
  const perLayer: Record<string, number[]> = {
    feed_forward_length: shape.layers.map(() => shape.intermediateSize),
    'attention.head_count': shape.layers.map(() => shape.numAttentionHeads),
    'attention.head_count_kv': [...settings.keyValueHeads],
  };
  const differ = new Set(settings.keyValueHeads).size > 1;
  for (const [key, values] of Object.entries(perLayer)) {
    const value: GgufValue = differ
      ? { type: 'array', of: 'int32', value: values }
      : { type: 'uint32', value: values[0]! };
    metadata.set(`${architecture}.${key}`, value);
  }
  metadata.set(`${architecture}.attention.layer_norm_rms_epsilon`, { type: 'float32', value: shape.rmsNormEpsilon });
  metadata.set(`${architecture}.rope.freq_base`, { type: 'float32', value: rope.theta });
  if (rope.type === 'linear' && rope.factor !== undefined) {
    metadata.set(`${architecture}.rope.scaling.type`, { type: 'string', value: 'linear' });
    metadata.set(`${architecture}.rope.scaling.factor`, { type: 'float32', value: rope.factor });
  }
  return metadata;
}
