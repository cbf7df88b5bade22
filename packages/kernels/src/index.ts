export { attendAndProjectAdd, type OutputProjection } from './attention/attend-and-project.ts';
export { appendAndAttend, decodeAttention, prefillAttention } from './attention/attention.ts';
export type { AttentionAttributes } from './attention/attention-host.ts';
export { appendAndAttendBlocks, type BlocksOfCache } from './attention/block-attention.ts';
export { type AdaptedFormat, createAdaptedFormat } from './cache/adapted/adapted-format.ts';
export { packAdaptedBlocks, unpackAdaptedBlocks } from './cache/adapted/move-adapted.ts';
export { type BlockFormat, createBlockFormat } from './cache/blocks/block-format.ts';
export type { BlockRun } from './cache/blocks/block-shader.ts';
export { packBlocks } from './cache/blocks/pack-blocks.ts';
export { unpackBlocks } from './cache/blocks/unpack-blocks.ts';
export {
  type CacheFormat,
  type CacheWindow,
  createCacheFormat,
  entriesOfLength,
  formatOfSlot,
  type SequenceRow,
  type SlotRow,
} from './cache/cache-format.ts';
export { type CopiedWords, copyRows } from './cache/copy-rows.ts';
export { type CopyRun, copyEntries, readEntries } from './cache/move-entries.ts';
export { rotateAndAppend } from './cache/rotate-and-append.ts';
export type { AppendAttributes } from './cache/rotate-and-append-host.ts';
export { createRotationTable } from './cache/rotation-table.ts';
export { rmsNorm, rmsNormGradient, rmsNormKernel } from './elementwise/rms-norm.ts';
export { siluGate, siluGateGradients } from './elementwise/silu-gate.ts';
export { type KernelCount, kernelCounters } from './fused-kernel.ts';
export { embedTokens } from './projection/embed-tokens.ts';
export {
  FEW_TOKENS,
  type GatedMatrices,
  gatedFeedForward,
  type NormWeights,
  normProject,
  project,
  projectAdd,
  projectGreatest,
  projectLogits,
} from './projection/projection.ts';
export type { Activation } from './projection/projection-host.ts';
export {
  type SampleTokensSettings,
  type StepTensors,
  sampleAndEmbed,
  sampleTokens,
  type TokenHistory,
  takesGreatest,
} from './sampling/sample-tokens.ts';
export { type StepBeginning, StepState } from './sampling/step-state.ts';
export { allocateTensor, copyTensor, copyValues, writeInPlace } from './tensors.ts';
export { accumulate } from './training/accumulate.ts';
export { type AdamAttributes, type AdamNumbers, adamNumbers, adamStep } from './training/adam-step.ts';
export { type RecordedStep, recordStep, submitInOrder } from './webgpu/recorded-step.ts';
export { type PassValues, RepeatedPass, type RepeatedPassSettings } from './webgpu/repeated-pass.ts';
export { RepeatedStep, type RepeatedStepSettings, type StepInputs } from './webgpu/repeated-step.ts';
export {
  type PackedRows,
  packedByteLength,
  packWeights,
  unpackWeights,
  type WeightFormat,
  weightFormats,
} from './weights/pack-weights.ts';
export { PackedMatrix, type PackedMatrixSettings, type PackedShard, packMatrix } from './weights/packed-matrix.ts';
