export { loadOnnxModel, type OnnxModelSettings } from './load-model.ts';
export type { OnnxModel } from './onnx-decoder.ts';
export { findOnnxRuntime, type OnnxRuntime } from './onnx-runtime.ts';
