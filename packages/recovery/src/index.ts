export { applyReconstruction } from './apply-reconstruction.ts';
export { causalAttention } from './attention/causal-attention.ts';
export {
  type LayerHistory,
  type ReconstructedLayer,
  type ReconstructionRequest,
  type ReconstructionResult,
  reconstructBlocks,
} from './reconstruct-blocks.ts';
export {
  type ReconstructionPreset,
  type ReconstructionSettings,
  reconstructionPresets,
  resolveReconstructionSettings,
} from './reconstruction-settings.ts';
export type { TrainingPoint } from './training/train-attention.ts';
