export type { BackendChoice, BackendName, WebGpuAdapter } from './backends/backend-choice.ts';
export { type BackendRequest, selectBackend } from './backends/select-backend.ts';
export {
  type AttentionBlockSettings,
  type AttentionStages,
  attentionBlock,
} from './blocks/attention-block.ts';
export { feedForwardBlock } from './blocks/feed-forward-block.ts';
export type { AttentionTensors, FeedForwardTensors, LayerTensors } from './blocks/layer-weights.ts';
export { rmsNorm } from './blocks/rms-norm.ts';
export { rotateHeads } from './blocks/rotate-heads.ts';
export {
  createSequenceContext,
  type SequenceContext,
  type SequenceContextSettings,
} from './blocks/sequence-context.ts';
export { disposeLayer, uploadLayer } from './blocks/upload-layer.ts';
export type { CacheSettings } from './cache/cache-settings.ts';
export { KeyValueCache } from './cache/key-value-cache.ts';
export type { DecoderModel, NewTokens } from './decoder/decoder-model.ts';
export type { LoadModelSettings } from './decoder/load-model.ts';
export type { GeneratedToken, GenerationSettings, SamplingSettings } from './generation/generation-settings.ts';
export { sampleToken } from './generation/sample-token.ts';
export { estimateMemory, type MemoryEstimate, type MemoryRequest } from './memory/estimate-memory.ts';
export type { ChatMessage, ChatSettings } from './text/chat-message.ts';
export { type ChatTemplate, loadChatTemplate } from './text/chat-template.ts';
export { generateText } from './text/generate-text.ts';
export { LanguageModel, type Prompt } from './text/language-model.ts';
export { type LanguageModelSettings, type LoadProgress, loadLanguageModel } from './text/load-language-model.ts';
export { loadModel, type OpenModelSettings } from './text/load-model.ts';
export type { GeneratedText, TextSettings } from './text/text-settings.ts';
