import { encodeDocuments, hashTexts, type TextDocument } from '@kvlr/calibration';
import type { HuggingFaceCheckpoint } from '@kvlr/checkpoint';
import { KvlrError, type RunControl } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { type CompressionReport, modelCard, type RunEnvironment } from '@kvlr/report';
import type { FinishedModel } from './compress.ts';
import { evaluationWindows } from './evaluation/evaluation-windows.ts';
import { checkTeacher } from './models/check-teacher.ts';
import { ModelRunner, type RunnerRequest } from './models/model-runner.ts';
import { readLicence } from './models/read-licence.ts';
import { roundModel } from './models/round-model.ts';
import { formatRecipeYaml, parseRecipe, parseRecipeYaml } from './recipe/parse-recipe.ts';
import { resolveDistillation } from './recipe/resolve-distillation.ts';
import { resolveRecovery } from './recipe/resolve-recovery.ts';
import { once } from './run/once.ts';
import { RunContext, type StageTime } from './run/run-context.ts';
import type { Distillation } from './stages/distill-student.ts';
import { attentionDtype, cacheElementBytes } from './stages/inspect-model.ts';
import { type Judgement, judge } from './stages/judge.ts';
import { recoverStudent } from './stages/recover-student.ts';
import { writeReport } from './stages/write-report.ts';
import { artefactKey } from './store/artefact.ts';
import { MemoryRunStore } from './store/memory-run-store.ts';
import { artefactNames, type RunStore } from './store/run-store.ts';

export interface CheckpointRecoveryRequest extends RunControl {
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
  texts: { calibration: readonly TextDocument[]; evaluation: readonly TextDocument[] };
  /** Keeps what resuming needs. Default: memory, which forgets. */
  store?: RunStore;
  runtime?: RunnerRequest;
  /** Puts the finished checkpoint in its place, as the last thing of the run. */
  write?: (finished: FinishedModel) => Promise<void>;
  /** What the report says of the machine; asked for when the report is made. */
  environment?: () => Partial<RunEnvironment>;
}

export interface CheckpointRecoveryResult {
  judgement: Judgement;
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
 *   nothing is to be trained; 'aborted' on the signal.
 */
export async function recoverCheckpoint(request: CheckpointRecoveryRequest): Promise<CheckpointRecoveryResult> {
  const { model, teacher, recovery, evaluation, texts } = request;
  const context = new RunContext(request.store ?? new MemoryRunStore(), request);
  requireTraining(recovery);
  const calibrationHash = await hashTexts(texts.calibration);
  const evaluationHash = await hashTexts(texts.evaluation);
  await checkTeacher(model, teacher, context.onEvent);
  const recipe: Recipe = {
    ...(await recipeOf(model)),
    ...{ keyValueHeads: model.shape.numKeyValueHeads, recovery, evaluation },
    source: { modelId: model.id, location: request.modelLocation ?? model.location, calibrationHash },
  };
  const recipeYaml = formatRecipeYaml(recipe);
  const tokenizer = await model.tokenizer();
  const calibrationIds = once(async () => encodeDocuments(texts.calibration, tokenizer));
  await requireSameTokens(request, await calibrationIds());
  await context.store.write(artefactNames.recipe, new TextEncoder().encode(recipeYaml));
  await context.beginLog();
  const runner = await ModelRunner.create(request.runtime ?? {}, context.onEvent);
  const pair = { modelId: model.id, teacherId: teacher.id, calibrationHash };
  const {
    model: recovered,
    history,
    course,
  } = await recoverStudent(context, {
    teacher,
    student: model,
    settings: recovery,
    tokenIds: calibrationIds,
    key: await artefactKey(pair, resolveRecovery(recovery)),
  });
  const written = await roundModel(recovered, model, undefined);
  const dtype = attentionDtype(model);
  const judged = [resolveRecovery(recovery), resolveDistillation(recovery), evaluation];
  const judgement = await judge(context, {
    ...{ runner, base: teacher, exact: recovered, written, dtype },
    bytesPerElement: cacheElementBytes(dtype),
    windows: async () => evaluationWindows(texts.evaluation, tokenizer, evaluation),
    key: await artefactKey({ ...pair, evaluationHash }, judged),
  });
  const report = await writeReport(context, {
    modelName: request.teacherName ?? teacher.location,
    modelLicence: await readLicence(teacher.files),
    model: teacher,
    resultShape: written.shape,
    ...{ recipe, judgement, history, distillation: course },
    environment: context.environment(`${runner.choice.backend} (${runner.choice.reason})`),
  });
  if (request.write) {
    const { write } = request;
    await context.stage('write', 'The checkpoint', async () => {
      await write({ model: recovered, dtype: undefined, recipeYaml, modelCard: modelCard(report) });
      return { value: undefined };
    });
  }
  return { judgement, report, course, stages: context.stages };
}

/** The recipe that a checkpoint carries when kvlr wrote it, or the default one. */
async function recipeOf({ files }: HuggingFaceCheckpoint): Promise<Recipe> {
  if (!(await files.list()).includes(artefactNames.recipe)) return parseRecipe({});
  return parseRecipeYaml(new TextDecoder().decode(await files.read(artefactNames.recipe)));
}

function requireTraining(recovery: Recipe['recovery']): void {
  if (recovery.preset !== 'none' || recovery.distillation !== undefined) return;
  throw new KvlrError('recipe-invalid', {
    message: 'recoverCheckpoint: expected block reconstruction or distillation, got neither',
    hint: 'Ask for --distill light or full, for --recover light or full, or for both.',
    data: { preset: recovery.preset },
  });
}

async function requireSameTokens({ model, teacher, texts }: CheckpointRecoveryRequest, ids: Int32Array): Promise<void> {
  const ofTeacher = encodeDocuments(texts.calibration, await teacher.tokenizer());
  if (ofTeacher.length === ids.length && ofTeacher.every((id, place) => id === ids[place])) return;
  throw new KvlrError('tokenizer-mismatch', {
    message: `recoverCheckpoint: expected ${model.location} and ${teacher.location} to encode the text equally, got other tokens`,
    hint: 'Name the model that this checkpoint was compressed from with --teacher.',
    data: { file: model.location, teacher: teacher.location },
  });
}
