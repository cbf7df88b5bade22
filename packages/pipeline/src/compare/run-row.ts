import { roundModel } from '@kvlr/checkpoint';
import { cacheSize, countParameters, type LogitSource } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { evaluate } from '@kvlr/evaluation';
import { type ComparisonRow, layoutKind } from '@kvlr/report';
import { type CompressionMeans, compressLayers } from '../compress.ts';
import { type PlanRequest, type PreparedTexts, planWithTexts } from '../plan.ts';
import { describeRecovery } from '../recipe.ts';
import { artefactKey, jsonCodec } from '../run/artefact.ts';
import type { RunContext } from '../run/context.ts';
import { MemoryRunStore, subStore } from '../run/store.ts';
import type { ComparedRow } from './rows.ts';

/** What all rows of a comparison share. */
export interface SharedByRows extends Pick<PlanRequest, 'model' | 'modelLocation'> {
  recipe: Recipe;
  texts: PreparedTexts;
  means: CompressionMeans;
  baseLogits: LogitSource;
}

/** Raised when rows without columns of their own come to hold more: those that were kept without it are made again. */
const rowForm = 2;

/** Compresses and evaluates one row, or takes it from an earlier run. */
export async function runRow(context: RunContext, row: ComparedRow, shared: SharedByRows): Promise<ComparisonRow> {
  const { name, title, entries, artefacts, columns } = row;
  const { model, modelLocation, texts, means } = shared;
  const { keyValueHeads } = entries;
  const recipe: Recipe = { ...shared.recipe, ...entries };
  const plan = await planWithTexts({ ...row.choices, model, modelLocation, recipe, texts });
  const fileName = (text: string) => `rows/${text.replace(/[^\w.-]+/g, '_')}-${keyValueHeads}`;
  const stage = {
    stage: 'evaluation' as const,
    title: `${title}, ${keyValueHeads} KV ${keyValueHeads === 1 ? 'head' : 'heads'}`,
    name: `${fileName(name)}.json`,
    key: await artefactKey({ evaluation: plan.keys.evaluation }, { rowForm: columns?.form ?? rowForm }),
    codec: jsonCodec<ComparisonRow>(),
    detail: ({ perplexity, klDivergence }: ComparisonRow) =>
      `perplexity ${perplexity.value.toFixed(2)}, KL ${klDivergence.value.toFixed(4)}`,
  };
  const finished = await context.cached(stage, async (running): Promise<ComparisonRow> => {
    // Closed forms are quicker to compute again than to keep; reconstructed layers are not.
    const keeps = describeRecovery(entries.recovery) !== undefined || artefacts !== undefined;
    const store = keeps ? subStore(context.store, `${fileName(artefacts ?? name)}/`) : new MemoryRunStore();
    const part = context.part(store);
    const compressed = await compressLayers(part, plan, means);
    running.takenOver.push(part.earlier);
    const { seconds } = part;
    const written = roundModel(compressed.model, model, recipe.dtype === 'source' ? undefined : recipe.dtype);
    const inputs = texts.evaluation.map(({ tokenIds }) => tokenIds.slice(0, -1));
    const result = await means.runner.use(written, inputs, (rowModel) =>
      evaluate({
        ...running.control,
        ...{ model: rowModel, modelId: written.id, base: shared.baseLogits, baseModelId: model.id },
        windows: texts.evaluation,
        cache: cacheSize(written.shape, plan.cache.bytesPerElement),
      }),
    );
    const { klDivergence, topOneAgreement } = result.againstBase!;
    return {
      method: name,
      title,
      layout: layoutKind(written.shape),
      ratio: (keyValueHeads * plan.headWidth) / model.shape.numKeyValueHeads,
      keyValueHeads,
      ...(plan.headWidth > 1 && { headWidth: plan.headWidth }),
      parameters: countParameters(written),
      seconds,
      ...(await columns?.measure(compressed, plan, means)),
      ...{ perplexity: result.perplexity, klDivergence, topOneAgreement },
      bytesPerToken: result.cache.bytesPerToken,
      windows: result.windows,
    };
  });
  return { ...finished, title };
}
