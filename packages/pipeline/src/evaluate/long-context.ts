import type { TextDocument } from '@kvlr/calibration';
import {
  type AnswerStore,
  keepScores,
  type LongContextResult,
  type LongContextSettings,
  probeLongContext,
} from '@kvlr/tasks';
import { hostMemoryNotes } from '../frontier/host-memory-note.ts';
import { taskCacheBytes } from './task-cache.ts';
import { type AskedModel, askModel } from './task-stage.ts';

export interface LongContextRequest extends AskedModel {
  /** Where fillers, passages and texts are cut from. */
  texts: readonly TextDocument[];
  settings?: LongContextSettings;
  /** Where scores are kept, so that a run that was cut goes on. */
  answers?: AnswerStore | undefined;
}

/** What a model with its cache remembers, and the bytes that it takes for it at the longest of the contexts. */
export interface LongContextEvaluation extends LongContextResult {
  cacheBytes: number;
  /** What is to be said of these bytes. */
  notes: string[];
}

/**
 * Copies and needles by length and depth, and perplexity by position, of one model with its cache kept in one way. What
 * `kvlr eval --long-context` does.
 *
 * @throws KvlrError what `probeLongContext` throws, 'backend-unavailable', 'memory-exceeded'.
 */
export async function evaluateLongContext(request: LongContextRequest): Promise<LongContextEvaluation> {
  const { model, cache = {}, texts, settings, answers } = request;
  return askModel(
    request,
    'Copies, needles and perplexity in a long context',
    async ({ taskModel, tokenizer, modelKey }) => {
      const asked = answers === undefined ? taskModel : keepScores(taskModel, modelKey, answers);
      const tokens = texts.map(({ text }) => tokenizer.encode(text));
      const result = await probeLongContext(asked, tokenizer, tokens, settings, request);
      const longest = Math.max(...result.cells.map(({ length }) => length));
      return {
        ...result,
        cacheBytes: taskCacheBytes(model.shape, cache, longest),
        notes: hostMemoryNotes(model.shape, cache.named, longest),
      };
    },
  );
}
