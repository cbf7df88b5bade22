import type { PackedMatrix, WeightFormat } from '@kvlr/kernels';
import type { Tensor1D, Tensor2D, Tensor3D } from '@tensorflow/tfjs-core';

/** One layer for the fused kernels. Matrices [out, in], packed. */
export interface FusedLayer {
  attentionNorm: Tensor1D;
  /** Rows of q, k and v below each other. */
  queryKeyValue: PackedMatrix;
  queryKeyValueBias?: Tensor1D;
  output: PackedMatrix;
  outputBias?: Tensor1D;
  /** Latent keys only: [keyWidth, keySlots * keySlotWidth]. */
  latentKeyEncoder?: Tensor2D;
  /** Latent keys only: [numAttentionHeads, headDim, keySlotWidth]. */
  latentQueryEncoder?: Tensor3D;
  /** Rebuilt keys only: [keySlots, keySlotWidth, heads of the slot * headDim]. */
  rebuiltKeyDecoder?: Tensor3D;
  feedForwardNorm: Tensor1D;
  gate: PackedMatrix;
  up: PackedMatrix;
  down: PackedMatrix;
  gateBias?: Tensor1D;
  upBias?: Tensor1D;
  downBias?: Tensor1D;
}

/** All weights of a decoder for the fused kernels. */
export interface FusedWeights {
  format: WeightFormat;
  embedding: PackedMatrix;
  layers: FusedLayer[];
  finalNorm: Tensor1D;
  /** The embedding itself where they are tied. */
  head: PackedMatrix;
  /** `createRotationTable` for every position that may occur. */
  rotation: Tensor2D;
}

/** Frees a model's weights, also those of a model that is loaded in part. */
export function disposeFusedWeights(weights: Partial<FusedWeights>): void {
  for (const layer of weights.layers ?? []) disposeFusedLayer(layer);
  if (weights.head !== weights.embedding) weights.head?.dispose();
  for (const part of [weights.embedding, weights.finalNorm, weights.rotation]) part?.dispose();
}

export function disposeFusedLayer(layer: Partial<FusedLayer>): void {
  for (const part of Object.values(layer)) part.dispose();
}
