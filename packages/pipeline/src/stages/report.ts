import { subspaceAffinity } from '@kvlr/compression';
import { type DecoderShape, type LayerStatistics, type ModelSource, throwIfAborted } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { describeCourse, type LayerHistory, refitsAlone } from '@kvlr/recovery';
import {
  type Alternatives,
  type CompressionReport,
  compressionHtml,
  compressionMarkdown,
  type LayerHeads,
  type LayerReconstruction,
  type LayerSpectra,
  type RunEnvironment,
  type TextSample,
  type TrainingCourse,
} from '@kvlr/report';
import { reportContexts } from '../models/facts.ts';
import { resolveRecovery } from '../recipe.ts';
import type { RunContext } from '../run/context.ts';
import { artefactNames, writeText } from '../run/store.ts';
import { type CacheBudget, describeBudget, differsByLayer } from './budget.ts';
import type { Distillation } from './distillation.ts';
import type { Evaluation } from './evaluation.ts';
import { layerSpectra } from './spectra.ts';
import type { ModelStatistics } from './statistics.ts';

/** An evaluation, or what is known of both models without one. */
type MeasuredOrNot = Pick<CompressionReport, 'base' | 'result'> & Pick<Evaluation, 'rounding'>;

export interface ReportRequest {
  modelName: string;
  modelLicence: string | undefined;
  model: ModelSource;
  resultShape: DecoderShape;
  /** Absent for a checkpoint that was compressed before. */
  budget?: CacheBudget;
  recipe: Recipe;
  /** Absent where none were gathered. */
  statistics?: ModelStatistics | undefined;
  /** The KV heads of each layer that share one. Absent for a checkpoint that was compressed before. */
  groups?: readonly number[][][];
  evaluation: MeasuredOrNot;
  alternatives?: Alternatives | undefined;
  /** What both models write. */
  samples?: () => Promise<TextSample[]>;
  /** The command line that makes the run again. */
  repeat?: string | undefined;
  history: LayerHistory[];
  distillation?: Distillation['course'];
  /** What the plan has told already. */
  notes?: readonly string[];
  environment: RunEnvironment;
}

/** Eigenvalues of wider moments would take longer than the compression itself. */
const widestSpectrum = 1024;

/** The report of a run, as JSON, HTML and Markdown in the store. */
export function writeReport(context: RunContext, request: ReportRequest): Promise<CompressionReport> {
  return context.stage('report', 'Report', async () => {
    const { model, modelName, recipe, evaluation } = request;
    const spectra: LayerSpectra[] = [];
    const heads: LayerHeads[] = [];
    const showsSpectra = model.shape.numKeyValueHeads * model.shape.headDim <= widestSpectrum;
    for (let layer = 0; showsSpectra && request.statistics && layer < model.shape.numLayers; layer++) {
      throwIfAborted(context.signal);
      const statistics = await request.statistics.layer(layer);
      spectra.push(layerSpectra(statistics));
      if (request.groups) heads.push(layerHeads(model.shape, statistics, request.groups[layer]!));
    }
    const samples = (await request.samples?.()) ?? [];
    const report: CompressionReport = {
      title: `${modelName}: ${model.shape.numKeyValueHeads} to ${recipe.keyValueHeads} KV heads${describeHeads(request)}`,
      model: { name: modelName, shape: model.shape, licence: request.modelLicence },
      resultShape: request.resultShape,
      base: evaluation.base,
      result: evaluation.result,
      contexts: reportContexts(model.shape),
      recipe,
      stages: context.stages.map(({ stage: _, ...timing }) => timing),
      environment: request.environment,
      ...(spectra.length > 0 && { spectra }),
      ...(heads.length > 0 && { heads }),
      ...(samples.length > 0 && { samples }),
      ...(request.alternatives && { alternatives: request.alternatives }),
      ...(request.repeat !== undefined && { repeat: request.repeat }),
      reconstruction: request.history.map(toLayerReconstruction),
      ...(request.distillation && { training: toTrainingCourse(request.distillation) }),
      notes: notesOf(request, context.warnings),
    };
    await writeText(context.store, artefactNames.reportData, `${JSON.stringify(report, undefined, 2)}\n`);
    await writeText(context.store, artefactNames.reportHtml, compressionHtml(report));
    await writeText(context.store, artefactNames.reportMarkdown, compressionMarkdown(report));
    return report;
  });
}

/** What stands behind the number of heads in a title. */
function describeHeads({ model, resultShape, budget }: ReportRequest): string {
  if (budget && differsByLayer(budget)) return ' on average';
  return resultShape.headDim === model.shape.headDim ? '' : ` of ${resultShape.headDim}`;
}

/** Affinity: one less half of the distance that the grouping by subspaces looks at, which is 0 to 2. */
function layerHeads(shape: DecoderShape, statistics: LayerStatistics, groups: number[][]): LayerHeads {
  const distance = subspaceAffinity({ shape, layer: statistics.layer, statistics });
  const heads = Array.from({ length: shape.numKeyValueHeads }, (_, head) => head);
  const affinity = heads.map((row) =>
    heads.map((column) => (row === column ? 1 : Number((1 - distance([row, column]) / 2).toFixed(4)))),
  );
  return { layer: statistics.layer, groups, affinity };
}

function toLayerReconstruction({ layer, initialError, finalError, points }: LayerHistory): LayerReconstruction {
  // The first point is taken before any step: it has no training error.
  const history = points.map(({ step, trainError, heldOutError }) =>
    step === 0 ? { step, heldOutError } : { step, trainingError: trainError, heldOutError },
  );
  return { layer, heldOutBefore: initialError, heldOutAfter: finalError, history };
}

function toTrainingCourse({ points }: NonNullable<Distillation['course']>): TrainingCourse {
  const readings = points.map(({ tokens, trainLoss, heldOutLoss, heldOutNextToken, partOfTheWay }) => ({
    ...{ tokens, heldOutLoss, heldOutPerplexity: Math.exp(heldOutNextToken) },
    ...(trainLoss !== undefined && { trainingLoss: trainLoss }),
    ...(partOfTheWay !== undefined && { partOfTheWay }),
  }));
  return { readings };
}

function noteOfBudget(budget: CacheBudget, { budget: { policy }, keyValueHeads }: Recipe): string {
  const total = `${policy} budget, the total of ${keyValueHeads} KV heads in every layer`;
  const engines =
    budget.unit === 'heads'
      ? 'LlamaForCausalLM of transformers expects one count for all layers and cannot load this; kvlr can, and llama.cpp after an export to GGUF (architecture deci).'
      : "kvlr's own runtime alone loads this.";
  return `${describeBudget(budget)} (${total}). ${engines}`;
}

/** How far the layers were brought back, where that is less than can be. */
function noteOfRecovery(recovery: Recipe['recovery'], shape: DecoderShape): string | undefined {
  const resolved = resolveRecovery(recovery);
  if (resolved === undefined) {
    return 'No block reconstruction: the closed forms alone. A refit or a reconstruction behind them does better.';
  }
  const { preset, settings } = resolved;
  if (settings.steps > 0) {
    const isLight = preset === 'light';
    return isLight ? 'Light block reconstruction: fewer and smaller steps than the full one.' : undefined;
  }
  return refitsAlone(settings, shape)
    ? 'Output projections refitted in closed form, no block reconstruction.'
    : 'The closed forms alone: output projections are refitted only where a block adds to the stream with no norm between. Light or full block reconstruction trains through the norm.';
}

/** What a reader has to know besides the figures. */
function notesOf(request: ReportRequest, warnings: readonly string[]): string[] {
  const { recipe, evaluation, distillation, budget } = request;
  const notes: string[] = [...(request.notes ?? [])];
  if (budget && differsByLayer(budget)) notes.push(noteOfBudget(budget, recipe));
  const recovered = noteOfRecovery(recipe.recovery, request.model.shape);
  if (recovered !== undefined && (recipe.recovery.preset !== 'none' || !distillation)) notes.push(recovered);
  if (distillation) {
    const { points, best } = distillation;
    const tokens = points.at(-1)!.tokens.toLocaleString('en-US');
    const { what, before, after } = describeCourse(points[0]!, best);
    const how = best.heldOutDivergence === undefined ? 'Trained' : 'Distilled';
    notes.push(`${how} on ${tokens} tokens: ${what} on held-out text from ${before} to ${after}.`);
  }
  if (evaluation.rounding && evaluation.rounding.maximum > 0) {
    const { dtype, maximum, relativeToRange } = evaluation.rounding;
    const share = (100 * relativeToRange).toPrecision(2);
    notes.push(`Rounding to ${dtype} moves a logit by at most ${maximum.toPrecision(2)}, ${share} % of their range.`);
  }
  return [...notes, ...warnings];
}
