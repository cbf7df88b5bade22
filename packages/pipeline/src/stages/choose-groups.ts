import { mapInOrder } from '@kvlr/core';
import { askForGroups, type GroupingSource, groupingConcurrency } from '../grouping/ask-for-groups.ts';
import { listCounts } from '../run/list-counts.ts';
import type { RunContext } from '../run/run-context.ts';
import { type ArtefactKey, loadJson, saveJson } from '../store/artefact.ts';
import { artefactNames } from '../store/run-store.ts';

export interface GroupsRequest extends GroupingSource {
  /** One count for all layers, or one for each. */
  keyValueHeads: number | readonly number[];
  key: ArtefactKey;
}

/** Stage 2: which KV heads of each layer share one, as lists of head indices per layer. */
export function chooseGroups(context: RunContext, request: GroupsRequest): Promise<number[][][]> {
  const { model, label, keyValueHeads, key } = request;
  const { shape } = model;
  return context.stage('grouping', `Which KV heads share one (${label})`, async (_control, watch) => {
    const kept = await loadJson<number[][][]>(context.store, artefactNames.grouping, key);
    if (kept) return { value: kept.value, skipped: true, takenOver: [kept.effort] };
    const groups = await mapInOrder({
      items: shape.layers,
      concurrency: groupingConcurrency(request),
      signal: context.signal,
      work: (_, layer) => {
        const count = typeof keyValueHeads === 'number' ? keyValueHeads : keyValueHeads[layer]!;
        return askForGroups(request, layer, count, context.signal);
      },
      onResult: (_, layer) => {
        const progress = { completed: layer + 1, total: shape.numLayers, unit: 'layers' as const };
        context.onEvent({ type: 'progress', stage: 'grouping', ...progress });
      },
    });
    await saveJson(context.store, artefactNames.grouping, { key, effort: watch.total() }, groups);
    const counts = groups.map((ofLayer) => ofLayer.length);
    return { value: groups, detail: `${shape.numKeyValueHeads} -> ${listCounts(counts)} KV heads` };
  });
}
