export type { AttentionAttributes } from './attention/attention-call.ts';
export { decodeAttention } from './attention/decode-attention.ts';
export { prefillAttention } from './attention/prefill-attention.ts';
export type { AppendAttributes } from './cache/append-call.ts';
export {
  type CacheFormat,
  type CacheWindow,
  createCacheFormat,
  entriesOfLength,
  type SequenceRow,
} from './cache/cache-format.ts';
export { type CopyRun, copyEntries } from './cache/copy-entries.ts';
export { readEntries } from './cache/read-entries.ts';
export { rotateAndAppend } from './cache/rotate-and-append.ts';
export { createRotationTable } from './cache/rotation-table.ts';
export { embedTokens } from './embedding/embed-tokens.ts';
export { allocateTensor } from './host/allocate-tensor.ts';
export { writeInPlace } from './host/write-in-place.ts';
export type { NormWeights } from './projection/define-projection.ts';
export { type GatedMatrices, gatedFeedForward } from './projection/gated-feed-forward.ts';
export { normProject } from './projection/norm-project.ts';
export { projectAdd } from './projection/project-add.ts';
export { projectLogits } from './projection/project-logits.ts';
export type { Activation } from './projection/projection.ts';
export { type KernelCount, kernelCounters } from './register/kernel-counters.ts';
export { type SampleTokensSettings, sampleTokens, type TokenHistory } from './sampling/sample-tokens.ts';
export { packMatrix } from './weights/pack-matrix.ts';
export { type PackedRows, packWeights } from './weights/pack-weights.ts';
export { PackedMatrix, type PackedMatrixSettings, type PackedShard } from './weights/packed-matrix.ts';
export { unpackWeights } from './weights/unpack-weights.ts';
export { packedByteLength, type WeightFormat, weightFormats } from './weights/weight-format.ts';
