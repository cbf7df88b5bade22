export type {
  ArchitectureDescriptor,
  FusedTensor,
  GgufFamily,
  NormRules,
  PartialArchitecture,
  RefusedSetting,
  Setting,
  ShapeRules,
  TensorNames,
} from './architectures/architecture.ts';
export { architectures, findArchitecture } from './architectures/families.ts';
export { readChatTemplates } from './chat-templates.ts';
export { uniformKeyValueHeads } from './config/native.ts';
export { modelShapeFromConfig } from './config/read-config.ts';
export { configFromModelShape, nativeReason, requireWideHeads } from './config/write-config.ts';
export {
  decodeBfloat16,
  decodeFloat16,
  decodeFloats,
  encodeBfloat16,
  encodeFloat16,
  encodeFloats,
  type WeightDtype,
} from './dtypes.ts';
export {
  type BrowserFile,
  type ByteSink,
  type CheckpointFiles,
  createBrowserFiles,
  createMemoryFiles,
  readJsonObject,
} from './files/files.ts';
export { createHubFiles, type HubAccess, type HubId, hubError, hubParameters, parseHubId } from './files/hub.ts';
export { timeBudget, withinTime } from './files/time-budget.ts';
export { createUrlFiles, type UrlFilesSettings } from './files/url.ts';
export type { GgufDtype } from './gguf/blocks.ts';
export { encodeGguf, type GgufSettings } from './gguf/export.ts';
export { openGguf } from './gguf/open.ts';
export { describeEngines, type LoadsInto, loadsInto } from './loads-into.ts';
export { type CheckpointFile, type CheckpointFilesSettings, checkpointFiles } from './model/checkpoint-files.ts';
export { type HuggingFaceCheckpoint, type OpenCheckpointSettings, openCheckpoint } from './model/open.ts';
export { type StoredPart, type StoredTensor, type TensorLayout, tensorLayout } from './model/stored-tensors.ts';
export {
  applyCompression,
  type DeferredTensor,
  type KeptLayer,
  keptLayer,
  type ModelChanges,
  overlayModel,
  stockShape,
} from './model/variant.ts';
export {
  type PlannedTensor,
  plannedBytes,
  planTensors,
  roundModel,
  type TensorPlanSettings,
} from './model/written-tensors.ts';
export { type OnnxFile, type OnnxSettings, onnxFiles } from './onnx/files.ts';
export type { OnnxFloatDtype } from './onnx/format.ts';
export { onnxContext } from './onnx/positions.ts';
export { type CheckpointLocation, type OpenSourceSettings, openSource } from './open-source.ts';
export { decodeTensorBundle, encodeTensorBundle } from './safetensors/bundle.ts';
export {
  parseSafetensorsHeader,
  type SafetensorsHeader,
  safetensorsHeaderLength,
  safetensorsLimits,
  type TensorEntry,
} from './safetensors/header.ts';
export { encodeSafetensors, encodeSafetensorsHeader, type TensorPlan } from './safetensors/write.ts';
export { loadTokenizer } from './tokenizer.ts';
