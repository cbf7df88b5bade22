export {
  applyDistillation,
  type DistillationRequest,
  type DistillationResult,
  distill,
} from './distillation/distill.ts';
export {
  type DistillationPreset,
  type DistillationSettings,
  distillationPresets,
  resolveDistillationSettings,
} from './distillation/distillation-settings.ts';
export type { DistillationCheckpoint, DistillationPoint } from './distillation/distillation-state.ts';
export {
  applyReconstruction,
  type LayerHistory,
  type ReconstructedLayer,
  type ReconstructionRequest,
  type ReconstructionResult,
  reconstructBlocks,
} from './reconstruction/reconstruct-blocks.ts';
export {
  type ReconstructionPreset,
  type ReconstructionSettings,
  reconstructionPresets,
  resolveReconstructionSettings,
} from './reconstruction/reconstruction-settings.ts';
export type { TrainingPoint } from './reconstruction/train-attention.ts';
