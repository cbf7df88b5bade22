export { applyReconstruction } from './apply-reconstruction.ts';
export { causalAttention } from './attention/causal-attention.ts';
export { applyDistillation } from './distillation/apply-distillation.ts';
export { distill } from './distillation/distill.ts';
export type {
  DistillationCheckpoint,
  DistillationPoint,
  DistillationRequest,
  DistillationResult,
} from './distillation/distillation.ts';
export {
  type DistillationPreset,
  type DistillationSettings,
  distillationPresets,
  resolveDistillationSettings,
} from './distillation/distillation-settings.ts';
export { reconstructBlocks } from './reconstruct-blocks.ts';
export type {
  LayerHistory,
  ReconstructedLayer,
  ReconstructionRequest,
  ReconstructionResult,
} from './reconstruction.ts';
export {
  type ReconstructionPreset,
  type ReconstructionSettings,
  reconstructionPresets,
  resolveReconstructionSettings,
} from './reconstruction-settings.ts';
export type { TrainingPoint } from './training/train-attention.ts';
