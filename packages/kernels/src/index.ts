export type { AttentionAttributes } from './attention/attention-call.ts';
export { decodeAttention } from './attention/decode-attention.ts';
export { prefillAttention } from './attention/prefill-attention.ts';
export type { AppendAttributes } from './cache/append-call.ts';
export {
  type CacheFormat,
  type CacheWindow,
  createCacheFormat,
  entriesOfLength,
  type SequenceRow,
} from './cache/cache-format.ts';
export { type CopyRun, copyEntries } from './cache/copy-entries.ts';
export { readEntries } from './cache/read-entries.ts';
export { rotateAndAppend } from './cache/rotate-and-append.ts';
export { createRotationTable } from './cache/rotation-table.ts';
export { type KernelCount, kernelCounters } from './register/kernel-counters.ts';
