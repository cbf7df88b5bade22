import type { DecoderShape, TensorRole } from '@kvlr/core';
import type { WeightFormat } from '@kvlr/kernels';
import { layerParts } from '../blocks/layer-parts.ts';
import type { FusedLayer } from './fused-weights.ts';
import { tableFormat } from './load-fused-weights.ts';

/** One part of a packed model as it lies on the device: a packed matrix, or a float32 tensor of some shape. */
export type PackedPart = { name: string } & (
  | { kind: 'matrix'; format: WeightFormat; rows: number; columns: number }
  | { kind: 'tensor'; shape: number[] }
);

/** The roles in the checkpoint that make up a part of a layer; of several the rows lie below each other. */
const matrices: [keyof FusedLayer, ...TensorRole[]][] = [
  ['queryKeyValue', 'queryWeight', 'keyWeight', 'valueWeight'],
  ['output', 'outputWeight'],
  ['gate', 'gateWeight'],
  ['up', 'upWeight'],
  ['down', 'downWeight'],
];
const tensors: [keyof FusedLayer, ...TensorRole[]][] = [
  ['attentionNorm', 'attentionNorm'],
  ['queryKeyValueBias', 'queryBias', 'keyBias', 'valueBias'],
  ['outputBias', 'outputBias'],
  ['latentKeyEncoder', 'latentKeyEncoder'],
  ['latentQueryEncoder', 'latentQueryEncoder'],
  ['rebuiltKeyDecoder', 'rebuiltKeyDecoder'],
  ['feedForwardNorm', 'feedForwardNorm'],
  ['gateBias', 'gateBias'],
  ['upBias', 'upBias'],
  ['downBias', 'downBias'],
];

/** The parts of one layer, by the names of `FusedLayer`. */
export function packedLayerParts(shape: DecoderShape, layer: number, format: WeightFormat): PackedPart[] {
  const sizes = new Map(layerParts(shape, layer).map(([, role, size]) => [role, size]));
  const rowsOf = (roles: TensorRole[]) => roles.reduce((sum, role) => sum + sizes.get(role)![0]!, 0);
  const packed = matrices.map(([name, ...roles]): PackedPart => {
    return { name, kind: 'matrix', format, rows: rowsOf(roles), columns: sizes.get(roles[0]!)![1]! };
  });
  for (const [name, ...roles] of tensors) {
    const size = sizes.get(roles[0]!);
    if (size === undefined) continue;
    // Encoders and decoders lie with their last two axes exchanged.
    const [columns, rows] = [size.at(-1)!, size.at(-2)!];
    const exchanged = [...size.slice(0, -2), columns, rows];
    packed.push({ name, kind: 'tensor', shape: size.length === 1 ? [rowsOf(roles)] : exchanged });
  }
  return packed;
}

/** The parts outside the layers. */
export function packedTableParts(shape: DecoderShape, format: WeightFormat): PackedPart[] {
  const table = {
    kind: 'matrix',
    format: tableFormat(format),
    rows: shape.vocabSize,
    columns: shape.hiddenSize,
  } as const;
  return [
    { name: 'embedding', ...table },
    { name: 'finalNorm', kind: 'tensor', shape: [shape.hiddenSize] },
    ...(shape.tieWordEmbeddings ? [] : [{ name: 'head', ...table }]),
  ];
}
