import { encodeDocuments } from '@kvlr/calibration';
import { type CheckpointFiles, type HuggingFaceCheckpoint, readChatTemplates, roundModel } from '@kvlr/checkpoint';
import { canonicalJson, type EventListener, KvlrError, sha256 } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { type Instruction, instructionWindows, mergeAdapter, readPeftAdapter } from '@kvlr/recovery';
import { type CompressionReport, modelCard } from '@kvlr/report';
import { type BackendChoice, loadChatTemplate, selectBackend } from '@kvlr/runtime';
import { type RunSettings, writeCheckpoint } from './compress.ts';
import { type CompressionEstimate, estimateCompression } from './estimate.ts';
import { chooseEngine } from './models/engine.ts';
import { attentionDtype, cacheElementBytes, readLicence } from './models/facts.ts';
import { ModelRunner } from './models/runner.ts';
import { checkTeacher } from './models/teacher.ts';
import { plannedMeans } from './models/window-means.ts';
import { prepareTexts, type RunTexts } from './plan.ts';
import {
  fitWindows,
  formatRecipeYaml,
  parseRecipe,
  parseRecipeYaml,
  resolveDistillation,
  resolveRecovery,
} from './recipe.ts';
import { artefactKey } from './run/artefact.ts';
import { RunContext, type StageTime } from './run/context.ts';
import { artefactNames, MemoryRunStore, writeText } from './run/store.ts';
import { type Distillation, distillationWindows, type TrainingWindows } from './stages/distillation.ts';
import { type Evaluation, evaluateResult } from './stages/evaluation.ts';
import { reconstructionWindows, recoverStudent } from './stages/recovery.ts';
import { writeReport } from './stages/report.ts';

export interface CheckpointRecoveryRequest extends RunSettings {
  /** The compressed model, in any layout. */
  model: HuggingFaceCheckpoint;
  /** The model it was made from. May be absent where the text's own next tokens are all that is learnt, or an adapter is merged. */
  teacher?: HuggingFaceCheckpoint | undefined;
  /** Where the model can be had again, for the recipe: a hub id, 'embedded', a path. Default: its location. */
  modelLocation?: string;
  /** The teacher's name for people. Default: its location. */
  teacherName?: string;
  /** What is trained: block reconstruction unless its preset is 'none', distillation where it is present. */
  recovery: Recipe['recovery'];
  /** Prompts with responses, or conversations, that are trained on instead of the calibration text; of them the answers count. */
  instructions?: readonly Instruction[] | undefined;
  /** An adapter in the files of peft, which is merged into the model before anything else. */
  adapter?: CheckpointFiles | undefined;
  evaluation: Recipe['evaluation'];
  texts: RunTexts;
}

export interface CheckpointRecoveryResult {
  evaluation: Evaluation;
  report: CompressionReport;
  /** The course of the distillation, where there was one. */
  course: Distillation['course'];
  stages: StageTime[];
}

/**
 * Trains a compressed checkpoint back towards the model it was made from, by block reconstruction, distillation or both, or any
 * checkpoint on the next tokens of a text or on the answers of instructions. What `kvlr recover` does. Stages whose artefacts lie in the
 * store are skipped; a training end to end goes on behind its last checkpoint. The result is evaluated against the teacher, or without
 * one against the model itself.
 *
 * @throws KvlrError 'tokenizer-mismatch' when the two encode the texts differently, 'invalid-argument' when the teacher
 *   cannot be what the checkpoint was made from (one whose values differ outside attention is warned of), or is absent and needed;
 *   'recipe-invalid' when nothing is to be done, 'text-too-short'; 'aborted' on the signal.
 */
export async function recoverCheckpoint(request: CheckpointRecoveryRequest): Promise<CheckpointRecoveryResult> {
  const { model, teacher } = request;
  const context = new RunContext(request.store ?? new MemoryRunStore(), request);
  const { original, student, texts, trainingWindows, ...prepared } = await prepareRecovery(request, context.onEvent);
  const { recovery, evaluation: windows } = prepared;
  const { calibration: text, calibrationHash, evaluationHash } = texts;
  const recipe: Recipe = {
    ...(await recipeOf(model)),
    ...{ keyValueHeads: model.shape.numKeyValueHeads, recovery, evaluation: windows },
    source: { modelId: model.id, location: request.modelLocation ?? model.location, calibrationHash },
  };
  const recipeYaml = formatRecipeYaml(recipe);
  await writeText(context.store, artefactNames.recipe, recipeYaml);
  await context.beginLog();

  const runner = await ModelRunner.create(request.runtime ?? {}, context.onEvent);
  const instructions = request.instructions && (await sha256(canonicalJson(request.instructions)));
  const inputs = {
    modelId: student.id,
    teacherId: original.id,
    calibrationHash,
    ...(instructions && { instructions }),
  };
  const resolved = resolveRecovery(recovery);
  const recovered = await recoverStudent(context, {
    ...{
      teacher,
      student,
      settings: recovery,
      text,
      windows: trainingWindows,
      key: await artefactKey(inputs, resolved),
    },
    backend: runner.choice.backend,
    native: runner.nativeTraining,
    nativeBlocks: runner.nativeReconstruction,
    streams: runner.streams,
  });
  const { history, course } = recovered;
  const written = roundModel(recovered.model, model, undefined);
  const dtype = attentionDtype(model);
  const evaluated = [resolved, resolveDistillation(recovery), windows];
  const evaluation = await evaluateResult(context, {
    ...{ runner, base: original, exact: recovered.model, written, windows: texts.evaluation, dtype },
    bytesPerElement: cacheElementBytes(dtype),
    key: await artefactKey({ ...inputs, evaluationHash }, evaluated),
  });
  const report = await writeReport(context, {
    modelName: request.teacherName ?? original.location,
    modelLicence: await readLicence(original.files),
    ...{ model: original, resultShape: written.shape, recipe, evaluation, history, distillation: course },
    environment: context.environment(runner.description),
  });
  await writeCheckpoint(context, request, {
    ...{ model: recovered.model, dtype: undefined, recipeYaml, modelCard: modelCard(report) },
  });
  return { evaluation, report, course, stages: context.stages };
}

/** What a recovery would take. Estimates, within a factor of about three. */
export interface PlannedRecovery
  extends Pick<CompressionEstimate, 'stages' | 'seconds' | 'memoryBytes' | 'outputBytes'> {
  backend: BackendChoice;
}

/** The dry run of `recoverCheckpoint`: what it would be refused for, and what it would take. Nothing is written or trained. */
export async function planRecovery(request: CheckpointRecoveryRequest): Promise<PlannedRecovery> {
  const { model } = request;
  const { texts, recovery, evaluation } = await prepareRecovery(request, request.onEvent);
  const backend = await selectBackend({ backend: request.runtime?.backend });
  const recipe = { ...parseRecipe({}), recovery, evaluation };
  const heads = { keyValueHeads: model.shape.numKeyValueHeads, headWidth: 1 };
  const plan = { model, recipe, texts, ...heads, needsStatistics: false, givenStatistics: false };
  const engine = await chooseEngine(request.runtime ?? {}, backend.backend);
  const means = plannedMeans(request.runtime, backend.backend, engine.native !== undefined);
  const { stages, seconds, memoryBytes, outputBytes } = estimateCompression(plan, means);
  return { stages, seconds, memoryBytes, outputBytes, backend };
}

/** Everything that can be refused before work begins is refused here. */
async function prepareRecovery(request: CheckpointRecoveryRequest, onEvent: EventListener | undefined) {
  const { model, teacher } = request;
  const { recovery, evaluation } = fitWindows(request, model.shape);
  requireWork(request, recovery);
  if (teacher) await checkTeacher(model, teacher, onEvent);
  const texts = await prepareTexts(await model.tokenizer(), request.texts, evaluation);
  if (texts.evaluation.length === 0) {
    throw new KvlrError('recipe-invalid', {
      message: 'expected windows to evaluate the result on, got evaluation.windowsPerSource 0',
      hint: 'Evaluate on one window of each source at least.',
      where: { argument: 'evaluation.windowsPerSource' },
    });
  }
  if (teacher) await requireSameTokens(request, teacher, texts.calibration.tokenIds);
  reconstructionWindows(texts.calibration, recovery);
  const trainingWindows = request.instructions && (await windowsOf(request.instructions, model, recovery));
  if (trainingWindows === undefined) distillationWindows(texts.calibration, recovery);
  const adapter = request.adapter && (await readPeftAdapter(request.adapter, model));
  const student = adapter ? await mergeAdapter(model, adapter) : model;
  return { recovery, evaluation, texts, trainingWindows, student, original: teacher ?? model };
}

/** Instructions as windows, written down by the model's chat template where it has one. */
async function windowsOf(
  instructions: readonly Instruction[],
  { files, shape, tokenizer }: HuggingFaceCheckpoint,
  recovery: Recipe['recovery'],
): Promise<TrainingWindows | undefined> {
  const resolved = resolveDistillation(recovery);
  if (resolved === undefined) return undefined;
  const hasTemplate = (await readChatTemplates(files)).size > 0;
  return instructionWindows(instructions, {
    tokenizer: await tokenizer(),
    template: hasTemplate ? await loadChatTemplate(files) : undefined,
    length: Math.min(resolved.windowLength, shape.maxPositionEmbeddings),
    heldOutCount: resolved.heldOutWindows,
    seed: recovery.seed,
  });
}

/** The recipe that a checkpoint carries when kvlr wrote it, or the default one. */
async function recipeOf({ files }: HuggingFaceCheckpoint): Promise<Recipe> {
  if (!(await files.list()).includes(artefactNames.recipe)) return parseRecipe({});
  return parseRecipeYaml(new TextDecoder().decode(await files.read(artefactNames.recipe)));
}

function requireWork({ adapter }: CheckpointRecoveryRequest, recovery: Recipe['recovery']): void {
  if (recovery.preset !== 'none' || recovery.distillation !== undefined || adapter !== undefined) return;
  throw new KvlrError('recipe-invalid', {
    message: 'expected block reconstruction or distillation, got neither',
    hint: 'Ask for a light or full reconstruction, for a light or full distillation, or for both.',
    where: { argument: 'recovery' },
    data: { preset: recovery.preset },
  });
}

async function requireSameTokens(
  { model, texts }: CheckpointRecoveryRequest,
  teacher: HuggingFaceCheckpoint,
  ids: Int32Array,
): Promise<void> {
  const ofTeacher = encodeDocuments(texts.calibration, await teacher.tokenizer());
  if (ofTeacher.length === ids.length && ofTeacher.every((id, place) => id === ids[place])) return;
  throw new KvlrError('tokenizer-mismatch', {
    message: `expected ${model.location} and ${teacher.location} to encode the text equally, got other tokens`,
    hint: 'Give the model that this checkpoint was compressed from.',
    where: { argument: 'teacher' },
    data: { file: model.location, teacher: teacher.location },
  });
}
