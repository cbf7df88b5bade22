export type { BackendChoice, BackendName, WebGpuAdapter } from './backends/backend-choice.ts';
export { type BackendRequest, selectBackend } from './backends/select-backend.ts';
export {
  type AttentionBlockSettings,
  type AttentionStages,
  attentionBlock,
  type CacheEntries,
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
export { KeyValueCache } from './cache/key-value-cache.ts';
export type { DecoderModel } from './decoder/decoder-model.ts';
export { loadModel } from './decoder/load-model.ts';
export type { GeneratedToken, GenerationSettings, SamplingSettings } from './generation/generation-settings.ts';
export { sampleToken } from './generation/sample-token.ts';
