import { timeBudget, withinTime } from '@kvlr/checkpoint';
import { KvlrError } from '@kvlr/core';
import type { FilterFields, MetricFields, TaskFields } from '../definition/task-fields.ts';

/** Filters by the name under which results are given; of tasks without any, one that changes nothing. */
export function filtersOf(fields: TaskFields): readonly FilterFields[] {
  const { output_type: type, filter_list: filters } = fields;
  return type === 'generate_until' && filters !== undefined ? filters : [{ name: 'none', filter: [] }];
}

/** A generated text as its filter leaves it. */
export function filterAnswer(text: string, steps: FilterFields['filter']): string {
  return steps.reduce(applyStep, text);
}

function applyStep(text: string, step: FilterFields['filter'][number]): string {
  switch (step.function) {
    case 'regex':
      return extract(text, step.regex_pattern, step.group_select, step.fallback);
    case 'remove_whitespace':
      return text.trimStart();
    case 'lowercase':
      return text.toLowerCase();
    case 'uppercase':
      return text.toUpperCase();
    case 'take_first':
      return text;
  }
}

/** The match of a pattern that `select` counts to, from the end if negative; of several groups the first that holds something. */
function extract(text: string, pattern: string, select: number, fallback: string): string {
  const expression = fromPython(pattern);
  const found = inTime(text, pattern, () => [...text.matchAll(expression)].at(select));
  if (found === undefined) return fallback;
  const [whole, ...groups] = found;
  const held = groups.length === 0 ? whole : groups.length === 1 ? groups[0] : groups.find((group) => group);
  return held === undefined || held === null ? fallback : held.trim();
}

/** Whether an answer is the target, as the harness's exact_match: what is to be ignored is taken out of both. */
export function answersEqual(answer: string, target: string, settings: MetricFields): boolean {
  const plain = (text: string) => {
    let left = text;
    for (const pattern of settings.regexes_to_ignore ?? []) {
      const [before, expression] = [left, fromPython(pattern)];
      left = inTime(before, pattern, () => before.replace(expression, ''));
    }
    if (settings.ignore_case) left = left.toLowerCase();
    if (settings.ignore_punctuation) left = left.replace(/[!-/:-@[-`{-~]/g, '');
    return settings.ignore_numbers ? left.replace(/[0-9]/g, '') : left;
  };
  return plain(answer) === plain(target);
}

/** A pattern may try a text in more ways than there is time for. */
function inTime<Value>(text: string, pattern: string, work: () => Value): Value {
  return withinTime(timeBudget(text.length), { argument: pattern }, work);
}

/** A regular expression of Python: flags may stand at its beginning. Throws 'file-malformed'. */
function fromPython(pattern: string): RegExp {
  const [, flags = '', body = ''] = /^(?:\(\?([ims]+)\))?([\s\S]*)$/.exec(pattern)!;
  try {
    return new RegExp(body, `g${[...new Set(flags)].join('')}`);
  } catch (cause) {
    throw new KvlrError('file-malformed', {
      message: `expected a regular expression, got ${JSON.stringify(pattern)}`,
      hint: 'Write it so that JavaScript knows it too.',
      where: { argument: 'regex_pattern' },
      cause,
    });
  }
}
