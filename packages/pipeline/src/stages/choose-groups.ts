import { readAttentionWeights } from '@kvlr/compression';
import {
  type CalibrationStatistics,
  type GroupingRequest,
  type GroupingStrategy,
  type ModelSource,
  throwIfAborted,
} from '@kvlr/core';
import { groupHeads, lostEnergyCosts } from '@kvlr/grouping';
import type { RunContext } from '../run/run-context.ts';
import { type ArtefactKey, loadJson, saveJson } from '../store/artefact.ts';
import { artefactNames } from '../store/run-store.ts';

export interface GroupsRequest {
  model: ModelSource;
  statistics: CalibrationStatistics;
  keyValueHeads: number;
  strategy: GroupingStrategy;
  /** Name or path of the strategy, for messages. */
  label: string;
  key: ArtefactKey;
}

/** Stage 2: which KV heads of each layer share one, as lists of head indices per layer. */
export function chooseGroups(context: RunContext, request: GroupsRequest): Promise<number[][][]> {
  const { model, statistics, keyValueHeads, strategy, label, key } = request;
  const { shape } = model;
  return context.stage('grouping', `Which KV heads share one (${label})`, async () => {
    const kept = await loadJson<number[][][]>(context.store, artefactNames.grouping, key);
    if (kept) return { value: kept, skipped: true };
    const groups: number[][][] = [];
    for (let layer = 0; layer < shape.numLayers; layer++) {
      const layerStatistics = statistics.layers[layer];
      const weights = await readAttentionWeights(model, layer);
      // Prepared when it is first asked for: not every strategy looks at the cost.
      let cost: ((heads: readonly number[]) => number) | undefined;
      const question: GroupingRequest = {
        layer,
        statistics: layerStatistics,
        heads: shape.numKeyValueHeads,
        groups: keyValueHeads,
        headDim: shape.headDim,
        numAttentionHeads: shape.numAttentionHeads,
        weights,
        cost: (heads) => {
          cost ??= lostEnergyCosts(question).exact;
          return cost(heads);
        },
        signal: context.signal,
      };
      groups.push(await groupHeads(strategy, question, label));
      // A search that was ended early gives groups that are not to be kept.
      throwIfAborted(context.signal);
      context.onEvent({
        type: 'progress',
        stage: 'grouping',
        completed: layer + 1,
        total: shape.numLayers,
        unit: 'layers',
      });
    }
    await saveJson(context.store, artefactNames.grouping, key, groups);
    return { value: groups, detail: `${shape.numKeyValueHeads} -> ${keyValueHeads} KV heads` };
  });
}
