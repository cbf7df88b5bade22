export type {
  OnnxEmbedding,
  OnnxHead,
  OnnxLayer,
  OnnxTrainedHead,
  OnnxTrainedLayer,
} from './decoder-parts.ts';
export { loadOnnxModel, type OnnxModel } from './load-model.ts';
export { OnnxDecoder } from './onnx-decoder.ts';
export { findOnnxRuntime, type OnnxRuntime } from './onnx-runtime.ts';
export type { OnnxSettings } from './onnx-settings.ts';
export type { BranchedWindow, Placement } from './placement.ts';
export { loadOnnxTrainedBlock, loadOnnxTrainingModel, type OnnxTrainingModel } from './training-model.ts';
