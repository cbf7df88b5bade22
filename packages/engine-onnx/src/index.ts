export { loadOnnxModel, type OnnxModel } from './load-model.ts';
export {
  OnnxDecoder,
  type OnnxEmbedding,
  type OnnxHead,
  type OnnxLayer,
  type OnnxSettings,
} from './onnx-decoder.ts';
export { findOnnxRuntime, type OnnxRuntime } from './onnx-runtime.ts';
