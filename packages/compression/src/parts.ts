/**
 * What methods are put together of, without the registries that name all of them: a program that brings its method along carries that one
 * alone.
 */
export { allowsWideHeads, canWidenHeads, compressLayerByMethod, type LayerByMethod } from './compress-layer.ts';
export {
  type AveragedKeySettings,
  alignedKeys,
  averagedKeys,
  jointKeys,
  meanPoolKeys,
  type PhasorKeySettings,
  phasorKeys,
} from './methods/keys.ts';
export {
  foldedKeys,
  type LatentKeySettings,
  latentKeys,
  type RebuiltKeySettings,
  rebuiltKeys,
} from './methods/rope-strategies.ts';
export {
  alignedValues,
  attendedValueFactors,
  centredValues,
  meanPoolValues,
  receivedValues,
  type SubspaceValueSettings,
  subspaceValues,
} from './methods/values.ts';
export type {
  CompressedKeys,
  CompressionMethod,
  GroupFactors,
  KeyMethod,
  KeyProjections,
  RopeStrategy,
  ValueMethod,
} from './ports.ts';
export { type GroupAttendedMoments, type LayerData, readAttentionWeights, type SourceLayer } from './source-layer.ts';
