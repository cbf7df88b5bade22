import { windowReader } from '@kvlr/cache';
import { type CalibrationRequest, collectStatistics, LayerMoments } from '@kvlr/calibration';
import {
  type ActivationSource,
  type CalibrationStatistics,
  KvlrError,
  type KvlrErrorCode,
  type KvlrErrorPlace,
  type LayerStatistics,
  type LogitSource,
  type ModelSource,
} from '@kvlr/core';
import { compareLogits, type LogitComparison } from '@kvlr/evaluation';
import { DecoderInParts, type HeadOnDevice, type LayerOnDevice, loadModel } from '@kvlr/runtime';
import type { NamedCache } from '../frontier/caches.ts';
import type { NativeEngine } from '../models/engine.ts';
import { type MomentsQuestion, type PassedWindows, type PassRequest, passGroup } from '../models/window-stream.ts';
import { type GroupingQuestion, type PartPlace, type WorkerPlace, windowSettings } from '../models/workers.ts';
import { groupingStrategies } from '../run/plugin-choices.ts';
import { groupLayer } from '../stages/grouping.ts';
import { type SharedModel, sourceOfSharedModel } from './shared-memory.ts';

/** What a worker is asked to do, and what it answers. Every model has a number, given by the side that asks. */
export interface WorkerTasks {
  load: {
    ask: { model: number; source: SharedModel; place: WorkerPlace };
    answer: undefined;
  };
  loadPart: {
    ask: { model: number; source: SharedModel; place: PartPlace; part: number | 'head' };
    answer: undefined;
  };
  /** Of a layer that is loaded. */
  pass: { ask: { model: number } & PassRequest; answer: PassedWindows };
  /** Of a head that is loaded. */
  readOut: { ask: { model: number; stream: Float32Array }; answer: Float32Array };
  logits: { ask: { model: number; tokenIds: Int32Array }; answer: Float32Array };
  statistics: {
    ask: { model: number } & Pick<CalibrationRequest, 'windows' | 'provenance'>;
    answer: CalibrationStatistics;
  };
  moments: { ask: MomentsQuestion; answer: LayerStatistics };
  compare: { ask: Parameters<typeof compareLogits>; answer: LogitComparison };
  groups: { ask: GroupingQuestion; answer: number[][] };
  dispose: { ask: { model: number }; answer: undefined };
  /** The last question: the thread ends itself behind what was asked before. */
  end: { ask: Record<string, never>; answer: undefined };
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

/** What a worker has loaded under a number: a whole model, or a part of one. */
interface Loaded {
  model?: LogitSource & { dispose(): void };
  activations?: ActivationSource;
  layer?: { source: ModelSource; index: number; layer: LayerOnDevice };
  head?: HeadOnDevice;
}

/** What a worker has of its own. */
export interface WorkerMeans {
  engine: NativeEngine;
  loadCache(name: string): Promise<NamedCache>;
}

/** What runs on a worker: answers one question after another, and never throws. */
export function serveTasks(means: WorkerMeans): (question: WorkerQuestion) => Promise<WorkerAnswer> {
  const models = new Map<number, Loaded>();
  let previous: Promise<unknown> = Promise.resolve();
  return (question) => {
    const answer = previous.then(async (): Promise<WorkerAnswer> => {
      try {
        return { id: question.id, answer: await answerQuestion(models, means, question) };
      } catch (error) {
        return { id: question.id, error: describeFailure(error) };
      }
    });
    previous = answer;
    return answer;
  };
}

async function answerQuestion(
  models: Map<number, Loaded>,
  means: WorkerMeans,
  { task, ask }: WorkerQuestion,
): Promise<unknown> {
  switch (task) {
    case 'load': {
      models.set(ask.model, await loadWhole(sourceOfSharedModel(ask.source), ask.place, means));
      return undefined;
    }
    case 'loadPart': {
      const { part, place } = ask;
      const source = sourceOfSharedModel(ask.source);
      const decoder = place.native ? await means.engine.open(source) : await DecoderInParts.open(source, place);
      models.set(
        ask.model,
        part === 'head'
          ? { head: await decoder.loadHead() }
          : { layer: { source, index: part, layer: await decoder.loadLayer(part) } },
      );
      return undefined;
    }
    case 'pass': {
      const { source, index, layer } = find(models, ask.model, 'layer');
      return passGroup(layer, source, index, ask);
    }
    case 'readOut':
      return find(models, ask.model, 'head').logits(ask.stream);
    case 'logits':
      return find(models, ask.model, 'model').logits(ask.tokenIds);
    case 'statistics': {
      const { windows, provenance } = ask;
      return collectStatistics({ activations: find(models, ask.model, 'activations'), windows, provenance });
    }
    case 'moments': {
      const moments = new LayerMoments(ask.shape, ask.layer);
      for (const window of ask.windows) moments.add(window);
      return moments.statistics();
    }
    case 'compare':
      return compareLogits(...ask);
    case 'groups': {
      const { strategy, inputs } = ask;
      const named = { strategy: groupingStrategies.get(strategy).strategy, label: strategy };
      return groupLayer({ ...ask, ...named, inputs: inputs && (async () => inputs) });
    }
    case 'dispose': {
      const { model, layer, head } = models.get(ask.model) ?? {};
      for (const loaded of [model, layer?.layer, head]) loaded?.dispose();
      models.delete(ask.model);
      return undefined;
    }
    case 'end':
      return undefined;
  }
}

async function loadWhole(
  source: ModelSource,
  { backend, native, cache: storage, coded }: WorkerPlace,
  { engine, loadCache }: WorkerMeans,
): Promise<Loaded> {
  if (native) {
    const model = await engine.load(source);
    return { model, activations: model };
  }
  const model = await loadModel(source, { backend, ...windowSettings(storage) });
  if (coded === undefined) return { model, activations: model };
  const { cache } = await loadCache(coded.name);
  const through = model.readThrough(windowReader({ ...coded, shape: source.shape, cache }));
  return { model: { ...through, dispose: () => model.dispose() } };
}

function find<Kind extends keyof Loaded>(
  models: Map<number, Loaded>,
  number: number,
  kind: Kind,
): NonNullable<Loaded[Kind]> {
  const loaded = models.get(number)?.[kind];
  if (loaded) return loaded;
  throw new KvlrError('invalid-argument', {
    message: `expected a ${kind} that is loaded, got number ${number}`,
    where: { argument: 'model' },
    data: { model: number },
  });
}

function describeFailure(error: unknown): WorkerFailure {
  if (!KvlrError.isInstance(error)) return { message: error instanceof Error ? error.message : String(error) };
  const { code, reason: message, hint, where, data } = error;
  return { code, message, ...(hint === undefined ? {} : { hint }), where, data };
}
