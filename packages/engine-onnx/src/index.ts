export { loadOnnxModel, type OnnxModel } from './load-model.ts';
export {
  OnnxDecoder,
  type OnnxEmbedding,
  type OnnxHead,
  type OnnxLayer,
  type OnnxSettings,
  type OnnxTrainedLayer,
} from './onnx-decoder.ts';
export { findOnnxRuntime, type OnnxRuntime } from './onnx-runtime.ts';
export type { BranchedWindow, Placement } from './placement.ts';
export { loadOnnxTrainedBlock, loadOnnxTrainingModel, type OnnxTrainingModel } from './training-model.ts';
