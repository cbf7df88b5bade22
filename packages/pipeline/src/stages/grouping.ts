import {
  type BlockInputs,
  type CompressionMethod,
  compressionMethods,
  lostEnergy,
  type MergeError,
  mergeError,
  readAttentionWeights,
} from '@kvlr/compression';
import {
  type AttentionWeights,
  type GroupCost,
  type GroupingRequest,
  type GroupingStrategy,
  type ModelSource,
  mapInOrder,
  throwIfAborted,
} from '@kvlr/core';
import { groupHeads } from '@kvlr/grouping';
import type { GroupingQuestion, ModelWorkers } from '../models/workers.ts';
import { type ArtefactKey, jsonCodec } from '../run/artefact.ts';
import type { RunContext } from '../run/context.ts';
import { groupingStrategies } from '../run/plugin-choices.ts';
import { artefactNames } from '../run/store.ts';
import type { Recordings } from './recordings.ts';
import type { ModelStatistics } from './statistics.ts';

/** A question about one layer with its strategy and method themselves, which need not have names. */
export interface LayerQuestion extends Omit<GroupingQuestion, 'strategy' | 'method' | 'inputs'> {
  strategy: GroupingStrategy;
  /** Name or path of the strategy, for messages. */
  label: string;
  method: string | CompressionMethod;
  inputs: (() => Promise<BlockInputs>) | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Which KV heads of a layer share one: asks the strategy, tells it what merges cost, checks its answer. Runs in this thread and in
 * workers alike. Throws what `groupHeads` throws.
 */
export function groupLayer(question: LayerQuestion): Promise<number[][]> {
  const { strategy, label, method, headWidth, shape, layer, wanted, weights, statistics, inputs, signal } = question;
  const source = { shape, layer, weights, statistics };
  // Prepared when they are first asked for: not every strategy looks at them.
  let cost: GroupCost | undefined;
  let error: MergeError | undefined;
  const { numKeyValueHeads, headDim, numAttentionHeads } = shape;
  const request: GroupingRequest = {
    ...{ layer, statistics, numKeyValueHeads, wanted, headWidth, headDim, numAttentionHeads, weights, signal },
    positions: shape.layers[layer]!.positions,
    cost: (heads) => {
      cost ??= lostEnergy(source, wanted, headWidth).exact;
      return cost(heads);
    },
    measuredCost:
      inputs &&
      (async (heads) => {
        error ??= mergeError(source, method, await inputs(), headWidth);
        return error([heads]);
      }),
  };
  return groupHeads(strategy, request, label);
}

/** A grouping strategy and what it is asked about. */
export interface GroupingSource {
  model: ModelSource;
  /** Absent where nothing asks for them. */
  statistics: ModelStatistics | undefined;
  strategy: GroupingStrategy;
  /** Name or path of the strategy. */
  label: string;
  /** For strategies that ask for measured errors: the method whose merges are measured, and the text they are measured on. */
  method: CompressionMethod;
  /** Width of the heads that groups are merged into, in widths of a head. */
  headWidth: number;
  blockInputs: Recordings['blockInputs'];
  /** Take layers side by side, where strategy and method are known by name and there is something to compute. */
  workers?: ModelWorkers | undefined;
}

export interface Grouper {
  /** Layers that may be asked for at once. */
  concurrency: number;
  /** Throws what `groupHeads` throws, and 'aborted'. */
  groupsOf(layer: number, wanted: number): Promise<number[][]>;
}

const nothing = new Float64Array(0);
const unread: AttentionWeights = { query: nothing, key: nothing, value: nothing, output: nothing };

/** Asks a strategy layer by layer: workers where they can answer, else this thread. */
export function createGrouper(source: GroupingSource, signal: AbortSignal | undefined): Grouper {
  const { model, statistics, strategy, label, method, headWidth, workers, blockInputs } = source;
  const named = groupingStrategies.has(label) ? groupingStrategies.get(label) : undefined;
  const methodName = compressionMethods.names.find((name) => compressionMethods.get(name) === method);
  const computes = named?.strategy === strategy && (named.needsStatistics || named.needsWeights);
  // A strategy of the caller's own may look at everything.
  const reads = computes || named?.strategy !== strategy;
  const ask = async (layer: number, wanted: number): Promise<number[][]> => {
    const weights = reads ? await readAttentionWeights(model, layer) : unread;
    const ofLayer = reads ? await statistics?.layer(layer) : undefined;
    const asked = { shape: model.shape, layer, wanted, headWidth, weights, statistics: ofLayer };
    if (!workers || !computes || methodName === undefined) {
      return groupLayer({ ...asked, strategy, label, method, inputs: () => blockInputs(layer), signal });
    }
    const inputs = named.needsMeasurement ? await blockInputs(layer) : undefined;
    return workers.group({ ...asked, strategy: label, method: methodName, inputs });
  };
  return {
    concurrency: workers && computes && methodName !== undefined ? workers.count : 1,
    async groupsOf(layer, wanted) {
      const groups = await ask(layer, wanted);
      // A search that was ended early gives groups that are not to be kept.
      throwIfAborted(signal);
      return groups;
    },
  };
}

/**
 * Stage 3: which KV heads of each layer share one, as lists of head indices per layer.
 *
 * @param counts KV heads that each layer keeps.
 */
export function chooseGroups(
  context: RunContext,
  { source, counts, key }: { source: GroupingSource; counts: readonly number[]; key: ArtefactKey },
): Promise<number[][][]> {
  const { shape } = source.model;
  const stage = {
    stage: 'grouping' as const,
    title: `Which KV heads share one (${source.label})`,
    name: artefactNames.grouping,
    key,
    codec: jsonCodec<number[][][]>(),
    detail: (groups: number[][][]) => `${shape.numKeyValueHeads} -> ${describeCounts(groups)} KV heads`,
  };
  return context.cached(stage, (running) => {
    const { concurrency, groupsOf } = createGrouper(source, context.signal);
    return mapInOrder({
      items: counts,
      concurrency,
      signal: context.signal,
      work: (count, layer) => groupsOf(layer, count),
      onResult: (_, layer) => running.progress(layer + 1, shape.numLayers, 'layers'),
    });
  });
}

/** Counts by layer: one number where all are alike. */
function describeCounts(groups: readonly number[][][]): string {
  const counts = groups.map((ofLayer) => ofLayer.length);
  return new Set(counts).size === 1 ? String(counts[0]) : counts.join(', ');
}
