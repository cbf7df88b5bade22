import { type CalibrationRequest, collectStatistics } from '@kvlr/calibration';
import { type CalibrationStatistics, KvlrError, type KvlrErrorCode, type KvlrErrorPlace } from '@kvlr/core';
import { loadModel } from '@kvlr/runtime';
import type { NativeEngine } from '../models/engine.ts';
import { type GroupingQuestion, type WorkerPlace, windowSettings } from '../models/workers.ts';
import { groupingStrategies } from '../run/plugin-choices.ts';
import { groupLayer } from '../stages/grouping.ts';
import { type SharedModel, sourceOfSharedModel } from './shared-memory.ts';

/** What a worker is asked to do, and what it answers. Every model has a number, given by the side that asks. */
export interface WorkerTasks {
  load: {
    ask: { model: number; source: SharedModel; place: WorkerPlace };
    answer: undefined;
  };
  logits: { ask: { model: number; tokenIds: Int32Array }; answer: Float32Array };
  statistics: {
    ask: { model: number } & Pick<CalibrationRequest, 'windows' | 'provenance'>;
    answer: CalibrationStatistics;
  };
  groups: { ask: GroupingQuestion; answer: number[][] };
  dispose: { ask: { model: number }; answer: undefined };
}

export type WorkerTaskName = keyof WorkerTasks;

/** A question on its way to a worker. */
export type WorkerQuestion = {
  [Name in WorkerTaskName]: { id: number; task: Name; ask: WorkerTasks[Name]['ask'] };
}[WorkerTaskName];

/** A worker's answer, or the error it met, in a form that crosses threads. */
export type WorkerAnswer = { id: number; answer: unknown } | { id: number; error: WorkerFailure };

interface WorkerFailure {
  message: string;
  /** Present when it was a KvlrError, with its other fields. */
  code?: KvlrErrorCode;
  hint?: string;
  where?: KvlrErrorPlace;
  data?: Record<string, unknown>;
}

type LoadedModel = Awaited<ReturnType<NativeEngine['load']>>;

/** What runs on a worker: answers one question after another, and never throws. */
export function serveTasks(engine: NativeEngine): (question: WorkerQuestion) => Promise<WorkerAnswer> {
  const models = new Map<number, LoadedModel>();
  let previous: Promise<unknown> = Promise.resolve();
  return (question) => {
    const answer = previous.then(async (): Promise<WorkerAnswer> => {
      try {
        return { id: question.id, answer: await answerQuestion(models, engine, question) };
      } catch (error) {
        return { id: question.id, error: describeFailure(error) };
      }
    });
    previous = answer;
    return answer;
  };
}

async function answerQuestion(
  models: Map<number, LoadedModel>,
  engine: NativeEngine,
  { task, ask }: WorkerQuestion,
): Promise<unknown> {
  switch (task) {
    case 'load': {
      const { backend, native, cacheDtype } = ask.place;
      const source = sourceOfSharedModel(ask.source);
      const settings = { backend, ...windowSettings(cacheDtype) };
      models.set(ask.model, await (native ? engine.load(source) : loadModel(source, settings)));
      return undefined;
    }
    case 'logits':
      return findModel(models, ask.model).logits(ask.tokenIds);
    case 'statistics': {
      const { windows, provenance } = ask;
      return collectStatistics({ activations: findModel(models, ask.model), windows, provenance });
    }
    case 'groups': {
      const { strategy, inputs } = ask;
      const named = { strategy: groupingStrategies.get(strategy).strategy, label: strategy };
      return groupLayer({ ...ask, ...named, inputs: inputs && (async () => inputs) });
    }
    case 'dispose':
      models.get(ask.model)?.dispose();
      models.delete(ask.model);
      return undefined;
  }
}

function findModel(models: Map<number, LoadedModel>, number: number): LoadedModel {
  const model = models.get(number);
  if (model) return model;
  throw new KvlrError('invalid-argument', {
    message: `expected a model that is loaded, got number ${number}`,
    where: { argument: 'model' },
    data: { model: number },
  });
}

function describeFailure(error: unknown): WorkerFailure {
  if (!KvlrError.isInstance(error)) return { message: error instanceof Error ? error.message : String(error) };
  const { code, reason: message, hint, where, data } = error;
  return { code, message, ...(hint === undefined ? {} : { hint }), where, data };
}
