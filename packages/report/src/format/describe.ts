import { cacheWidth, type DecoderShape, type EvaluationResult, type LayerCacheLayout } from '@kvlr/core';
import type { ComparisonReport, LayoutKind } from '../documents/comparison-report.ts';
import type { StageTiming } from '../documents/compression-report.ts';
import { isMeasured, type UnmeasuredModel } from '../documents/compression-report.ts';
import { formatCount, formatDuration } from './format.ts';

function describeLayer(layout: LayerCacheLayout): string {
  if (layout.keys === 'stock' && layout.keySlots === layout.valueSlots) return String(layout.keySlots);
  return `${layout.keySlots} x ${layout.keySlotWidth} key + ${layout.valueSlots} x ${layout.valueSlotWidth} value`;
}

/** KV heads per layer in few words: "4", "2 to 6" where layers differ, "1 x 256 key + 4 x 64 value" for latent keys. */
export function describeLayout(shape: DecoderShape): string {
  const layers = shape.layers.map(({ cache }) => cache);
  const described = [...new Set(layers.map(describeLayer))];
  if (described.length === 1) return described[0]!;
  if (hasKeyValueHeads(shape)) {
    const heads = layers.map((layout) => layout.keySlots);
    return `${Math.min(...heads)} to ${Math.max(...heads)}`;
  }
  const widths = layers.map(cacheWidth);
  return `mixed, ${Math.min(...widths)} to ${Math.max(...widths)} numbers per token`;
}

/** True when every layer holds ordinary rotated keys in as many heads as values, the same in all layers: any engine loads it. */
export function isStockShape(shape: DecoderShape): boolean {
  const first = shape.layers[0]?.cache;
  return shape.layers.every(
    ({ cache: layout }) =>
      layout.keys === 'stock' &&
      layout.keySlots === first?.keySlots &&
      layout.valueSlots === layout.keySlots &&
      layout.keySlotWidth === shape.headDim &&
      layout.valueSlotWidth === shape.headDim,
  );
}

/** True where every layer has as many ordinary key slots as values, be it a different number in each layer. */
function hasKeyValueHeads(shape: DecoderShape): boolean {
  return shape.layers.every(({ cache: layout }) => layout.keys === 'stock' && layout.keySlots === layout.valueSlots);
}

/** One line about a model: "llama, 6 layers, hidden 256, 8 query heads, 8 KV heads of 32, vocabulary 4,096". */
export function describeShape(shape: DecoderShape): string {
  return [
    shape.architecture,
    `${shape.numLayers} layers`,
    `hidden ${shape.hiddenSize}`,
    `${shape.numAttentionHeads} query heads`,
    hasKeyValueHeads(shape)
      ? `${describeLayout(shape)} KV heads of ${shape.headDim}`
      : `a cache of ${describeLayout(shape)} per layer`,
    `vocabulary ${shape.vocabSize.toLocaleString('en-US')}`,
  ].join(', ');
}

/** The layout of a model's cache; where it has latent or rebuilt keys in any layer, that is what it is called. */
export function layoutKind(shape: DecoderShape): LayoutKind {
  if (isStockShape(shape)) return 'stock';
  if (shape.layers.some(({ cache: { keys } }) => keys === 'latent')) return 'latent keys';
  if (shape.layers.some(({ cache: { keys } }) => keys === 'rebuilt')) return 'rebuilt keys';
  return hasKeyValueHeads(shape) ? 'per-layer heads' : 'narrow values';
}

/** One sentence about what a layout that is not stock means for those who want to run it. */
export const layoutConsequences: Record<Exclude<LayoutKind, 'stock'>, string> = {
  'per-layer heads':
    'Each layer has its own number of KV heads. LlamaForCausalLM of transformers expects one number for all layers and cannot load it; kvlr’s own runtime can, and llama.cpp after kvlr export --gguf (as its architecture deci).',
  'latent keys': 'The keys are cached in a latent space: it runs in kvlr’s own runtime.',
  'rebuilt keys':
    'The cache holds latents from which the keys are rebuilt and rotated at every step: it runs in kvlr’s own runtime.',
  'narrow values':
    'The keys are ordinary; every head caches a narrower value of its own: it runs in kvlr’s own runtime.',
};

/** What stands behind the figures: "36,864 tokens of sotu, moby-dick, kjv in 72 windows of 513; ± is one standard error." */
export function describeEvaluation(evaluation: EvaluationResult | UnmeasuredModel): string {
  if (!isMeasured(evaluation)) return 'Not evaluated: what it costs in quality is not known.';
  const sources = Object.keys(evaluation.perplexityBySource);
  const of = sources.length > 0 ? ` of ${sources.join(', ')}` : '';
  const errors = evaluation.perplexity.standardError === undefined ? '.' : '; ± is one standard error over windows.';
  return (
    `Measured on ${formatCount(evaluation.tokenCount)} tokens${of}, in ${formatCount(evaluation.windowCount)} windows of ` +
    `${formatCount(evaluation.windowLength)}${errors}`
  );
}

/** What the cache figures count: "Cache sizes are exact, at 2 bytes per number." */
export function describeCacheElement(bytesPerElement: number): string {
  return `Cache sizes are exact, at ${bytesPerElement} ${bytesPerElement === 1 ? 'byte' : 'bytes'} per number.`;
}

/** One sentence that says where reference figures come from; undefined when the report has none. */
export function listReferences(report: ComparisonReport): string | undefined {
  const sources = [...new Set(report.rows.flatMap((row) => (row.reference ? [row.reference.source] : [])))];
  return sources.length === 0 ? undefined : `Reference perplexities: ${sources.join('; ')}.`;
}

/** What stages took in this run and in the earlier ones that parts were taken over from. */
interface WorkTime {
  seconds: number;
  earlierSeconds: number;
  /** True where a part was made by a run that kept no record of its time. */
  unrecorded: boolean;
}

/** The stages' times together. Reading what an earlier run had finished is no work. */
function sumStageTimes(stages: readonly StageTiming[]): WorkTime {
  const sum: WorkTime = { seconds: 0, earlierSeconds: 0, unrecorded: false };
  for (const { seconds, skipped = false, earlierSeconds = skipped ? null : 0 } of stages) {
    sum.seconds += skipped ? 0 : seconds;
    sum.earlierSeconds += earlierSeconds ?? 0;
    sum.unrecorded ||= earlierSeconds === null;
  }
  return sum;
}

/** How long the stages took in all, and in words what of it earlier runs did; '' where they did nothing. */
export function describeWorkTime(stages: readonly StageTiming[]): { total: string; remark: string } {
  const { seconds, earlierSeconds, unrecorded } = sumStageTimes(stages);
  const remarks = [];
  if (earlierSeconds > 0) {
    remarks.push(seconds === 0 ? 'in an earlier run' : `${formatDuration(earlierSeconds)} of it in earlier runs`);
  }
  if (unrecorded) remarks.push('without earlier work of unknown time');
  return { total: formatDuration(seconds + earlierSeconds), remark: remarks.join('; ') };
}

/** "12 min 05 s", or with "(9 min 10 s of it in earlier runs)" behind it where work was taken over. */
export function formatWorkTime(stages: readonly StageTiming[]): string {
  if (stages.every(({ skipped, earlierSeconds }) => skipped && earlierSeconds == null)) return 'from an earlier run';
  const { total, remark } = describeWorkTime(stages);
  return remark ? `${total} (${remark})` : total;
}
