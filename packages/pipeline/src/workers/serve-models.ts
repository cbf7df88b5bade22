import { collectStatistics } from '@kvlr/calibration';
import { KvlrError } from '@kvlr/core';
import { resolveGrouping } from '@kvlr/grouping';
import { type DecoderModel, loadModel } from '@kvlr/runtime';
import { answerLayerQuestion } from '../grouping/layer-question.ts';
import { windowSettings } from '../models/window-settings.ts';
import type { GroupingTask, WorkerAnswer, WorkerFailure, WorkerQuestion } from './messages.ts';
import { sourceOfSharedModel } from './shared-model.ts';

/** What runs on a worker: answers one question after another, and never throws. */
export function serveModels(): (question: WorkerQuestion) => Promise<WorkerAnswer> {
  const models = new Map<number, DecoderModel>();
  let previous: Promise<unknown> = Promise.resolve();
  return (question) => {
    const answer = previous.then(async (): Promise<WorkerAnswer> => {
      try {
        return { id: question.id, answer: await answerQuestion(models, question) };
      } catch (error) {
        return { id: question.id, error: describeFailure(error) };
      }
    });
    previous = answer;
    return answer;
  };
}

async function answerQuestion(models: Map<number, DecoderModel>, { task, ask }: WorkerQuestion): Promise<unknown> {
  switch (task) {
    case 'load':
      models.set(
        ask.model,
        await loadModel(sourceOfSharedModel(ask.source), { backend: ask.backend, ...windowSettings(ask.cacheDtype) }),
      );
      return undefined;
    case 'logits':
      return findModel(models, ask.model).logits(ask.tokenIds);
    case 'statistics': {
      const { windows, provenance } = ask;
      return collectStatistics({ activations: findModel(models, ask.model), windows, provenance });
    }
    case 'groups':
      return answerGroupingTask(ask);
    case 'dispose':
      models.get(ask.model)?.dispose();
      models.delete(ask.model);
      return undefined;
  }
}

function answerGroupingTask({ strategy, question, measurement }: GroupingTask): Promise<number[][]> {
  const asked = { strategy: resolveGrouping(strategy), label: strategy };
  return answerLayerQuestion(
    asked,
    question,
    measurement && { ...measurement, inputs: async () => measurement.inputs },
  );
}

function findModel(models: Map<number, DecoderModel>, number: number): DecoderModel {
  const model = models.get(number);
  if (model) return model;
  throw new KvlrError('invalid-argument', {
    message: `serveModels: expected a model that is loaded, got number ${number}.`,
    data: { model: number },
  });
}

function describeFailure(error: unknown): WorkerFailure {
  if (!KvlrError.isInstance(error)) return { message: error instanceof Error ? error.message : String(error) };
  const { code, message, hint, data } = error;
  return { code, message, ...(hint === undefined ? {} : { hint }), data };
}
