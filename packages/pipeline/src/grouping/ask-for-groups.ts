import { type CompressionMethod, compressionMethods, readAttentionWeights } from '@kvlr/compression';
import { type CalibrationStatistics, type GroupingStrategy, type ModelSource, throwIfAborted } from '@kvlr/core';
import { groupingStrategies, type NamedGrouping } from '@kvlr/grouping';
import type { RecordedInputs } from '../calibration/record-block-inputs.ts';
import { askWorkerForGroups } from '../workers/ask-worker-for-groups.ts';
import type { ModelWorkers } from '../workers/model-workers.ts';
import { answerLayerQuestion } from './layer-question.ts';

/** A grouping strategy and what it is asked about. */
export interface GroupingSource {
  model: ModelSource;
  statistics: CalibrationStatistics;
  strategy: GroupingStrategy;
  /** Name or path of the strategy, for messages. */
  label: string;
  /** For strategies that ask for measured errors: the method whose merges are measured, and the text they are measured on. */
  method: CompressionMethod;
  blockInputs: RecordedInputs;
  /** Take layers side by side, where strategy and method are known by name. */
  workers?: ModelWorkers | undefined;
}

/** Which KV heads of one layer share one, when this many are kept. Throws what `groupHeads` throws, and 'aborted'. */
export async function askForGroups(
  source: GroupingSource,
  layer: number,
  keyValueHeads: number,
  signal: AbortSignal | undefined,
): Promise<number[][]> {
  const { model, label, strategy, method } = source;
  const question = {
    shape: model.shape,
    layer,
    keyValueHeads,
    weights: await readAttentionWeights(model, layer),
    statistics: source.statistics.layers[layer],
  };
  const inputs = () => source.blockInputs(layer);
  const remote = remoteGrouping(source);
  const groups = remote
    ? await askWorkerForGroups(remote.workers, {
        strategy: label,
        question,
        measurement: remote.grouping.needsMeasurement ? { method: remote.method, inputs: await inputs() } : undefined,
      })
    : await answerLayerQuestion({ strategy, label, signal }, question, { method, inputs });
  // A search that was ended early gives groups that are not to be kept.
  throwIfAborted(signal);
  return groups;
}

/** What decides whether threads can answer. */
type NamedParts = Pick<GroupingSource, 'strategy' | 'label' | 'method' | 'workers'>;

/** How many layers may be asked for at once. */
export function groupingConcurrency(source: NamedParts): number {
  return remoteGrouping(source)?.workers.count ?? 1;
}

/** Present where threads can answer: strategy and method are not the caller's own, and there is something to compute. */
function remoteGrouping({
  strategy,
  label,
  method,
  workers,
}: NamedParts): { workers: ModelWorkers; grouping: NamedGrouping; method: string } | undefined {
  const grouping = Object.hasOwn(groupingStrategies, label) ? groupingStrategies[label] : undefined;
  const named = Object.keys(compressionMethods).find((name) => compressionMethods[name] === method);
  if (!workers || named === undefined || grouping?.strategy !== strategy) return undefined;
  return grouping.needsStatistics || grouping.needsWeights ? { workers, grouping, method: named } : undefined;
}
