import { type CacheDtype, type RunControl, stockLayout } from '@kvlr/core';
import { createCacheFormat } from '@kvlr/kernels';
import type { AttentionReport, AttentionRow } from '@kvlr/report';
import { type BackendRequest, selectBackend } from '@kvlr/runtime';
import { measureInRounds } from '../statistics/measure-in-rounds.ts';
import { pairRounds } from '../statistics/pair-rounds.ts';
import { percentile } from '../statistics/percentile.ts';
import { summariseTimes } from '../statistics/summarise-times.ts';
import { prepareAttention } from './prepare-attention.ts';
import { prepareCopy } from './prepare-copy.ts';

export interface AttentionRequest extends RunControl, Pick<BackendRequest, 'backend' | 'wasmPaths'> {
  numAttentionHeads: number;
  headDim: number;
  /** The first is the base of speed-ups. Each divides numAttentionHeads. */
  keyValueHeads: readonly number[];
  contexts: readonly number[];
  dtypes: readonly CacheDtype[];
  /** Default 5. */
  rounds?: number;
  /** Least time of one subject's turn in a round, in which it makes as many calls as fit. Default 50. */
  turnMilliseconds?: number;
  /** Bytes of the block that is copied for comparison. Default 64 MiB. */
  copyBytes?: number;
}

/**
 * Times decode attention of one layer alone: a new token over caches that are filled with random entries, for every dtype and
 * context, the numbers of KV heads taking turns. Beside it the bandwidth of copying: a buffer on the GPU, memory elsewhere.
 */
export async function benchmarkAttention(request: AttentionRequest): Promise<AttentionReport> {
  const { dtypes, contexts, numAttentionHeads, headDim, onEvent } = request;
  const backend = await selectBackend({ backend: request.backend, wasmPaths: request.wasmPaths });
  const copyBytesPerSecond = await measureCopy(request);
  const rows: AttentionRow[] = [];
  for (const dtype of dtypes) {
    for (const context of contexts) {
      onEvent?.({ type: 'note', message: `Attention over ${context} tokens, ${dtype}` });
      rows.push(...(await measureContext(request, dtype, context)));
    }
  }
  const { adapter } = backend;
  return {
    title: `Decode attention of ${numAttentionHeads} query heads of ${headDim}`,
    numAttentionHeads,
    headDim,
    copyBytesPerSecond,
    rows,
    environment: { backend: `${backend.backend} (${backend.reason})` },
    notes: [
      'GB/s: bytes of the cache by the median time. Copying counts bytes read and bytes written.',
      ...(adapter?.software ? [`${adapter.name} computes on the CPU: times are not those of a GPU.`] : []),
    ],
  };
}

async function measureCopy({ copyBytes = 2 ** 26, rounds = 5, signal }: AttentionRequest): Promise<number> {
  const copy = prepareCopy(copyBytes);
  try {
    const [times] = await measureInRounds([() => copy.run(4)], { rounds, signal });
    return (2 * copyBytes * 1000) / percentile(times!, 0.5);
  } finally {
    copy.dispose();
  }
}

async function measureContext(request: AttentionRequest, dtype: CacheDtype, context: number): Promise<AttentionRow[]> {
  const { keyValueHeads, numAttentionHeads, headDim, rounds = 5, turnMilliseconds = 50, signal } = request;
  const subjects: ReturnType<typeof prepareAttention>[] = [];
  try {
    for (const heads of keyValueHeads) {
      const format = createCacheFormat(stockLayout(heads, headDim), dtype);
      subjects.push(prepareAttention({ format, numAttentionHeads, headDim, context }));
    }
    const turns: (() => Promise<number[]>)[] = [];
    for (const subject of subjects) {
      await subject.run(1);
      const calls = Math.max(1, Math.min(500, Math.round(turnMilliseconds / (await subject.run(2)))));
      turns.push(async () => [await subject.run(calls)]);
    }
    const times = await measureInRounds(turns, { rounds, signal });
    return subjects.map(({ bytesRead }, index) => {
      const call = summariseTimes(times[index]!.flat());
      return {
        context,
        dtype,
        keyValueHeads: keyValueHeads[index]!,
        call,
        bytesRead,
        bytesPerSecond: (1000 * bytesRead) / call.p50,
        ...(index > 0 && { speedup: pairRounds(times[0]!, times[index]!) }),
      };
    });
  } finally {
    for (const subject of subjects) subject.dispose();
  }
}
