export {
  type AdamAttributes,
  type AdamNumbers,
  accumulate,
  adamNumbers,
  adamStep,
  allocateTensor,
  copyTensor,
  copyValues,
  RepeatedStep,
  type RepeatedStepSettings,
  type StepInputs,
} from '@kvlr/kernels';
export {
  type BackendChoice,
  type BackendName,
  type BackendRequest,
  selectBackend,
  type WebGpuAdapter,
} from './backends/select-backend.ts';
export {
  type AttentionBlockSettings,
  type AttentionStages,
  attentionBlock,
} from './blocks/attention-block.ts';
export {
  decoderLayer,
  feedForwardBlock,
  streamAfterAttention,
  streamAfterFeedForward,
} from './blocks/decoder-layer.ts';
export { type Project, type Projection, projectWith } from './blocks/operations.ts';
export {
  createSequenceContext,
  type SequenceContext,
  type SequenceContextSettings,
} from './blocks/sequence-context.ts';
export { type DecoderTensors, disposeDecoder, embed, readOut, uploadDecoder } from './blocks/stock-decoder.ts';
export { disposeTensors, type LayerTensors, type TensorsByRole, uploadLayer, uploadTensors } from './blocks/weights.ts';
export { floats, WindowPass, type WindowPassSettings } from './blocks/window-pass.ts';
export { cacheSettingsOf } from './cache/cache-name.ts';
export type { CacheSettings, CacheStatistics } from './cache/cache-settings.ts';
export { KeyValueCache } from './cache/key-value-cache.ts';
export {
  DecoderInParts,
  type DecoderPartsSettings,
  type HeadOnDevice,
  type LayerOnDevice,
} from './decoder/decoder-in-parts.ts';
export type { DecoderModel, NewTokens } from './decoder/decoder-model.ts';
export type { LoadModelSettings, LoadProgress } from './decoder/load-model.ts';
export { estimateMemory, type MemoryEstimate, type MemoryRequest } from './decoder/memory.ts';
export type { GeneratedToken, GenerationSettings, SamplingSettings } from './generation/generation-settings.ts';
export { sampleToken } from './generation/sample-token.ts';
export { packedTensorShapes } from './packed/packed-file.ts';
export { packedTensorBytes } from './packed/packed-weights.ts';
export type { RecordedDecoding, RecordedSampling } from './packed/recorded-decoding.ts';
export { type ChatMessage, type ChatSettings, type ChatTemplate, loadChatTemplate } from './text/chat-template.ts';
export { type GeneratedText, generateText, type TextSettings } from './text/generate-text.ts';
export {
  LanguageModel,
  type LanguageModelSettings,
  loadLanguageModel,
  loadModel,
  type OpenModelSettings,
  type Prompt,
} from './text/language-model.ts';
