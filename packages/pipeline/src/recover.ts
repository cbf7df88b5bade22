import { encodeDocuments } from '@kvlr/calibration';
import { type HuggingFaceCheckpoint, roundModel } from '@kvlr/checkpoint';
import { KvlrError } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { type CompressionReport, modelCard } from '@kvlr/report';
import { type RunSettings, writeCheckpoint } from './compress.ts';
import { attentionDtype, cacheElementBytes, readLicence } from './models/facts.ts';
import { ModelRunner } from './models/runner.ts';
import { checkTeacher } from './models/teacher.ts';
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
import { type Evaluation, evaluateResult } from './stages/evaluation.ts';
import { type Distillation, distillationWindows, reconstructionWindows, recoverStudent } from './stages/recovery.ts';
import { writeReport } from './stages/report.ts';

export interface CheckpointRecoveryRequest extends RunSettings {
  /** The compressed model, in any layout. */
  model: HuggingFaceCheckpoint;
  /** The model it was made from. */
  teacher: HuggingFaceCheckpoint;
  /** Where the model can be had again, for the recipe: a hub id, 'embedded', a path. Default: its location. */
  modelLocation?: string;
  /** The teacher's name for people. Default: its location. */
  teacherName?: string;
  /** What is trained: block reconstruction unless its preset is 'none', distillation where it is present. */
  recovery: Recipe['recovery'];
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
 * Trains a compressed checkpoint back towards the model it was made from, by block reconstruction, distillation or both. What
 * `kvlr recover` does. Stages whose artefacts lie in the store are skipped; a distillation goes on behind its last checkpoint.
 *
 * @throws KvlrError 'tokenizer-mismatch' when the two encode the texts differently, 'invalid-argument' when the teacher
 *   cannot be what the checkpoint was made from (one whose values differ outside attention is warned of), 'recipe-invalid' when
 *   nothing is to be trained, 'text-too-short'; 'aborted' on the signal.
 */
export async function recoverCheckpoint(request: CheckpointRecoveryRequest): Promise<CheckpointRecoveryResult> {
  const { model, teacher } = request;
  const { recovery, evaluation: windows } = fitWindows(request, model.shape);
  const context = new RunContext(request.store ?? new MemoryRunStore(), request);
  requireTraining(recovery);
  await checkTeacher(model, teacher, context.onEvent);
  const texts = await prepareTexts(await model.tokenizer(), request.texts, windows);
  const { calibration: text, calibrationHash, evaluationHash } = texts;
  await requireSameTokens(request, text.tokenIds);
  reconstructionWindows(text, recovery);
  distillationWindows(text, recovery);
  const recipe: Recipe = {
    ...(await recipeOf(model)),
    ...{ keyValueHeads: model.shape.numKeyValueHeads, recovery, evaluation: windows },
    source: { modelId: model.id, location: request.modelLocation ?? model.location, calibrationHash },
  };
  const recipeYaml = formatRecipeYaml(recipe);
  await writeText(context.store, artefactNames.recipe, recipeYaml);
  await context.beginLog();

  const runner = await ModelRunner.create(request.runtime ?? {}, context.onEvent);
  const pair = { modelId: model.id, teacherId: teacher.id, calibrationHash };
  const resolved = resolveRecovery(recovery);
  const recovered = await recoverStudent(context, {
    ...{ teacher, student: model, settings: recovery, text, key: await artefactKey(pair, resolved) },
  });
  const { history, course } = recovered;
  const written = await roundModel(recovered.model, model, undefined);
  const dtype = attentionDtype(model);
  const evaluated = [resolved, resolveDistillation(recovery), windows];
  const evaluation = await evaluateResult(context, {
    ...{ runner, base: teacher, exact: recovered.model, written, windows: texts.evaluation, dtype },
    bytesPerElement: cacheElementBytes(dtype),
    key: await artefactKey({ ...pair, evaluationHash }, evaluated),
  });
  const report = await writeReport(context, {
    modelName: request.teacherName ?? teacher.location,
    modelLicence: await readLicence(teacher.files),
    ...{ model: teacher, resultShape: written.shape, recipe, evaluation, history, distillation: course },
    environment: context.environment(runner.description),
  });
  await writeCheckpoint(context, request, {
    ...{ model: recovered.model, dtype: undefined, recipeYaml, modelCard: modelCard(report) },
  });
  return { evaluation, report, course, stages: context.stages };
}

/** The recipe that a checkpoint carries when kvlr wrote it, or the default one. */
async function recipeOf({ files }: HuggingFaceCheckpoint): Promise<Recipe> {
  if (!(await files.list()).includes(artefactNames.recipe)) return parseRecipe({});
  return parseRecipeYaml(new TextDecoder().decode(await files.read(artefactNames.recipe)));
}

function requireTraining(recovery: Recipe['recovery']): void {
  if (recovery.preset !== 'none' || recovery.distillation !== undefined) return;
  throw new KvlrError('recipe-invalid', {
    message: 'expected block reconstruction or distillation, got neither',
    hint: 'Ask for a light or full reconstruction, for a light or full distillation, or for both.',
    where: { argument: 'recovery' },
    data: { preset: recovery.preset },
  });
}

async function requireSameTokens({ model, teacher, texts }: CheckpointRecoveryRequest, ids: Int32Array): Promise<void> {
  const ofTeacher = encodeDocuments(texts.calibration, await teacher.tokenizer());
  if (ofTeacher.length === ids.length && ofTeacher.every((id, place) => id === ids[place])) return;
  throw new KvlrError('tokenizer-mismatch', {
    message: `expected ${model.location} and ${teacher.location} to encode the text equally, got other tokens`,
    hint: 'Give the model that this checkpoint was compressed from.',
    where: { argument: 'teacher' },
    data: { file: model.location, teacher: teacher.location },
  });
}
