export { type Adapter, mergeAdapter, targetsOf } from './adapters/adapter.ts';
export { encodePeftAdapter, peftFileNames, readPeftAdapter } from './adapters/peft.ts';
export {
  applyDistillation,
  type DistillationRequest,
  type DistillationResult,
  describeCourse,
  distill,
} from './distillation/distill.ts';
export {
  type DistillationPreset,
  type DistillationSettings,
  distillationPresets,
  resolveDistillationSettings,
} from './distillation/distillation-settings.ts';
export type { DistillationCheckpoint, DistillationPoint } from './distillation/distillation-state.ts';
export { needsTeacher, type Objective } from './distillation/objective.ts';
export type { MaskedWindow, TrainingWindow } from './distillation/pieces.ts';
export type { TeacherStore, TopTokens } from './distillation/recorded-teacher.ts';
export {
  type Instruction,
  type InstructionWindowSettings,
  instructionWindows,
  parseInstructions,
} from './instructions/instructions.ts';
export type { NativeTraining, NativeTrainingModel } from './native/native-training.ts';
export type { LoadLayer, PassableLayer } from './reconstruction/layer-passes.ts';
export {
  type NativeReconstruction,
  type ReconstructionRequest,
  type ReconstructionResult,
  reconstructBlocks,
} from './reconstruction/reconstruct-blocks.ts';
export {
  applyReconstruction,
  type KeptReconstruction,
  keptReconstruction,
  type LayerHistory,
  type ReconstructedLayer,
  type TrainingPoint,
} from './reconstruction/reconstructed-layer.ts';
export {
  type ReconstructionPreset,
  type ReconstructionSettings,
  reconstructionPresets,
  refitsAlone,
  refitsOutput,
  resolveReconstructionSettings,
  trainsNatively,
} from './reconstruction/reconstruction-settings.ts';
export type { LowRankUpdate } from './training/low-rank-adapters.ts';
export { attentionTargets, type TrainingTarget, trainingTargets } from './training/targets.ts';
