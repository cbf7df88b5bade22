export { type AttentionRequest, benchmarkAttention } from './benchmark-attention.ts';
export { benchmarkDecoders } from './benchmark-decoders.ts';
export type { BenchmarkRequest, BenchmarkSubject } from './benchmark-request.ts';
export { activeDevice, type DeviceTimes, timeDispatchChain } from './device-time.ts';
export {
  type DecodeBytesSettings,
  decodeBytes,
  type LargestBatchSettings,
  largestBatch,
  weightBytes,
} from './formulas.ts';
export { type HostTimeRequest, type HostTimeSample, type HostTimes, measureHostTime } from './host-time.ts';
export { fillCache, randomTokenIds } from './random-cache.ts';
export {
  createRandomModel,
  llama1bShape,
  llama7bShape,
  smolMultiHeadShape,
  smolShape,
  withKeyValueHeads,
} from './random-model.ts';
export { createRandomPacked } from './random-packed.ts';
export { measureInRounds, pairRounds, percentile, type RoundSettings, summariseTimes } from './statistics.ts';
export { type AttentionTimeSettings, timeAttention } from './time-attention.ts';
export { timeCopy } from './time-copy.ts';
export {
  type DecodeSettings,
  type DecodeSubject,
  type PrefillSettings,
  prepareDecode,
  timePrefill,
} from './time-decode.ts';
export { type ProductTimeSettings, timeProduct } from './time-product.ts';
export { type RecordedDecodeSettings, type RecordedDecodeTimes, timeRecordedDecode } from './time-recorded-decode.ts';
