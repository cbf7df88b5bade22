export {
  type AttentionWeights,
  type CachedKeys,
  type CacheSlots,
  type CompressedLayer,
  cacheLayout,
  type LatentKeys,
  type RebuiltKeys,
  rolesOfAttentionWeights,
  type StockKeys,
} from './artefacts/compressed-layer.ts';
export type {
  CacheSize,
  EvaluationResult,
  Measurement,
  PartOfWindows,
  WindowScores,
} from './artefacts/evaluation-result.ts';
export type { CalibrationStatistics, LayerStatistics, StatisticsProvenance } from './artefacts/statistics.ts';
export {
  type AdaptedDtype,
  adaptedBitsOf,
  adaptedDtypes,
  BLOCK_TOKENS,
  type CacheDtype,
  type CachedLayers,
  type CacheStorage,
  type ChannelDtype,
  cacheBlockWords,
  cacheBytes,
  cacheCapacity,
  cacheDtypes,
  cacheEntryWords,
  cacheSize,
  cacheSlotWords,
  channelBitsOf,
  codedCacheSize,
  type EntryDtype,
  entryDtypes,
  fullBlocks,
  hasBlocks,
  slotWords,
} from './cache/cache-bytes.ts';
export {
  type CacheCodec,
  type CacheSide,
  type SideCodec,
  type SideFormat,
  type SideRequest,
  type SideStatistics,
  type SlotShape,
  slotsOfSide,
} from './cache/cache-codec.ts';
export type {
  CachePolicy,
  ChunkFetching,
  ChunkQuery,
  HeldTokens,
  KeptTokens,
  PolicySettings,
} from './cache/cache-policy.ts';
export {
  type CodedCache,
  codecTableBytes,
  codedCacheBytes,
  codedTokens,
  type ExactTokens,
  fetchedPlaceBytes,
  halfCacheBytes,
  heldTokens,
  hostCacheBytes,
  meanCodedCacheBytes,
  policyBudget,
  policyTokenBytes,
  policyTokens,
  slotBytes,
} from './cache/coded-cache.ts';
export type { LayerRows, WindowAttention, WindowReader } from './cache/window-reader.ts';
export { fromBfloat, fromHalf, halfTable, toBfloat, toFiniteHalf, toHalf } from './half-floats.ts';
export type { ActivationSource, LayerActivations, LogitSource, TapName } from './model/activations.ts';
export { alibiPenalty, roundToBfloat16 } from './model/alibi-penalty.ts';
export {
  type Activation,
  type AttentionShape,
  attentionProducts,
  type BlockShape,
  cacheWidth,
  type DecoderShape,
  type EmbeddingShape,
  type FeedForwardShape,
  type HeadShape,
  type LayerCacheLayout,
  type LayerShape,
  type LlamaShapeSettings,
  layerRope,
  llamaShape,
  type NormShape,
  type PositionShape,
  type RopeParameters,
  type RopeScaling,
  stockLayout,
} from './model/decoder-shape.ts';
export {
  countShapeParameters,
  type DecoderPart,
  type DecoderTensor,
  decoderTensors,
  globalTensors,
  isCompressedRole,
  isLayerRole,
  isNativeRole,
  layerTensors,
  partOfRole,
  type TensorRole,
  tensorRoles,
} from './model/decoder-tensors.ts';
export {
  ascendingHeads,
  contiguousHeads,
  everyHead,
  type HeadCounts,
  type HeadGroups,
  headComponents,
  keyValueHeadOf,
  queryHeadsOf,
  queryOrder,
  separateHeads,
} from './model/heads.ts';
export { type Checkpoint, countParameters, type ModelSource, type Tokenizer } from './model/model-source.ts';
export { normOfRole, readTensor } from './model/read-tensor.ts';
export { MemoryStreamStore, memoryStreams, type StreamStorage, type StreamStore } from './model/stream-store.ts';
export {
  countElements,
  type DenseTensor,
  readRows,
  type TensorBundle,
  type TensorDtype,
  type TensorInfo,
  type TensorSink,
  type TensorSource,
} from './model/tensors.ts';
export type { BlockWindow, TrainedBlock, TrainedValues } from './model/trained-block.ts';
export type { BudgetAnswer, BudgetPolicy, BudgetRequest, BudgetSide, LayerBudget } from './plugins/budget-policy.ts';
export type {
  CostPort,
  GroupCost,
  GroupingRequest,
  GroupingStrategy,
  NamedCost,
  RankedCost,
} from './plugins/grouping-strategy.ts';
export { canonicalJson, sha256 } from './running/hash.ts';
export {
  KvlrError,
  type KvlrErrorCode,
  type KvlrErrorDetails,
  type KvlrErrorPlace,
  withPlace,
} from './running/kvlr-error.ts';
export { createNormalRandom, createRandom, shuffled } from './running/random.ts';
export {
  didYouMean,
  type ImportedModule,
  isModulePath,
  type ModuleLoader,
  Registry,
  type Resolved,
  type StandardSchema,
} from './running/registry.ts';
export {
  type EventListener,
  type KvlrEvent,
  mapInOrder,
  type OrderedWork,
  type RunControl,
  type StageName,
  throwIfAborted,
} from './running/run-control.ts';
