export type {
  ArchitectureDescriptor,
  BiasRule,
  GgufFamily,
  RefusedSetting,
} from './architectures/architecture-descriptor.ts';
export { architectureFromJson } from './architectures/architecture-from-json.ts';
export { architectures, findArchitecture } from './architectures/find-architecture.ts';
export { configFromModelShape } from './config/config-from-model-shape.ts';
export { modelShapeFromConfig } from './config/model-shape-from-config.ts';
export { uniformKeyValueHeads } from './config/uniform-key-value-heads.ts';
export { decodeBfloat16, encodeBfloat16 } from './dtypes/bfloat16.ts';
export { decodeFloats } from './dtypes/decode-floats.ts';
export { encodeFloats, type WeightDtype } from './dtypes/encode-floats.ts';
export { decodeFloat16, encodeFloat16 } from './dtypes/float16.ts';
export { type BrowserFile, createBrowserFiles } from './files/browser-files.ts';
export type { ByteSink } from './files/byte-sink.ts';
export type { CheckpointFiles } from './files/checkpoint-files.ts';
export { createMemoryFiles } from './files/memory-files.ts';
export { createUrlFiles, type UrlFilesSettings } from './files/url-files.ts';
export { encodeGguf, type GgufSettings } from './gguf/encode-gguf.ts';
export type { HubAccess } from './hub/hub-access.ts';
export { createHubFiles } from './hub/hub-files.ts';
export { type HubId, parseHubId } from './hub/hub-id.ts';
export { applyCompression } from './model/apply-compression.ts';
export { type ExpectedTensor, expectedTensors } from './model/expected-tensors.ts';
export { type HuggingFaceCheckpoint, type OpenCheckpointSettings, openCheckpoint } from './model/open-checkpoint.ts';
export { type ModelChanges, overlayModel } from './model/overlay-model.ts';
export { type OnnxFile, type OnnxSettings, onnxFiles } from './onnx/onnx-files.ts';
export type { OnnxFloatDtype } from './onnx/onnx-format.ts';
export { encodeSafetensors, encodeSafetensorsHeader, type TensorPlan } from './safetensors/encode-safetensors.ts';
export { safetensorsLimits } from './safetensors/limits.ts';
export {
  parseSafetensorsHeader,
  type SafetensorsHeader,
  safetensorsHeaderLength,
  type TensorEntry,
} from './safetensors/parse-safetensors-header.ts';
export { plannedBytes, planTensors, type TensorPlanSettings } from './safetensors/plan-tensors.ts';
export { decodeTensorBundle, encodeTensorBundle } from './safetensors/tensor-bundle.ts';
export type { CheckpointLocation } from './sources/checkpoint-location.ts';
export { type OpenSourceSettings, openSource } from './sources/open-source.ts';
export { loadTokenizer } from './tokenizer/load-tokenizer.ts';
