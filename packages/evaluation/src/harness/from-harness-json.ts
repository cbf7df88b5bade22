import { type EvaluationResult, KvlrError, type Measurement } from '@kvlr/core';
import type { HarnessResults, HarnessTaskMetrics } from './harness-results.ts';

/**
 * Reads back what `toHarnessJson` wrote, losslessly for every result of `evaluate`.
 * Throws 'file-malformed' for anything else, naming the field that is missing.
 */
export function fromHarnessJson(json: unknown): EvaluationResult {
  const file = json as Partial<HarnessResults> | null | undefined;
  const [group, subtasks] = Object.entries(required(file?.group_subtasks, 'group_subtasks'))[0] ?? [];
  const details = required(file?.kvlr, 'kvlr');
  const results = required(file?.results, 'results');
  const groupName = required(group, 'group_subtasks');
  const groupMetrics = required(results[groupName], `results.${groupName}`);
  const tokensPerWindow = details.window_length - 1;
  const sources = required(subtasks, 'group_subtasks').map((task) => {
    const source = task.slice(groupName.length + 1);
    return [source, measurement(required(results[task], `results.${task}`), 'perplexity', tokensPerWindow)] as const;
  });
  const overall = (name: string) => measurement(groupMetrics, name, tokensPerWindow);
  return {
    modelId: required(file?.model_name, 'model_name'),
    tokenCount: details.token_count,
    windowCount: groupMetrics.sample_len,
    windowLength: details.window_length,
    perplexity: overall('perplexity'),
    perplexityBySource: Object.fromEntries(sources),
    againstBase:
      details.base_model_name === undefined
        ? undefined
        : {
            baseModelId: details.base_model_name,
            basePerplexity: overall('base_perplexity'),
            klDivergence: overall('kl_divergence'),
            topOneAgreement: overall('top_one_agreement'),
            perplexityRatio: overall('perplexity_ratio'),
          },
    ...(details.windows && { windows: details.windows }),
    cache: details.cache,
  };
}

function measurement(task: HarnessTaskMetrics, name: string, tokensPerWindow: number): Measurement {
  const value = task[`${name},none`];
  const standardError = task[`${name}_stderr,none`];
  if (typeof value !== 'number') throw malformed(`results.${task.name}."${name},none"`);
  return {
    value,
    standardError: typeof standardError === 'number' ? standardError : undefined,
    tokenCount: task.sample_len * tokensPerWindow,
  };
}

function required<Value>(value: Value | undefined, field: string): Value {
  if (value === undefined) throw malformed(field);
  return value;
}

function malformed(field: string): KvlrError {
  return new KvlrError('file-malformed', {
    message: `fromHarnessJson: expected a results file written by kvlr, got one without ${field}`,
    hint: 'Pass the results.json of a kvlr evaluation.',
    data: { field },
  });
}
