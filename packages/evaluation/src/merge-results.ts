import { type EvaluationResult, KvlrError, type WindowScores } from '@kvlr/core';
import { summariseScores } from './summarise-scores.ts';

/** A result, and the name by which errors speak of it. */
export interface NamedResult {
  name: string;
  result: EvaluationResult;
}

/**
 * One result of evaluations that took the parts of the windows apart, on as many machines: the scores of all windows in their order,
 * and from them what one evaluation would have given, to the rounding of Float64.
 *
 * @param parts In any order; each part of the windows once.
 * @throws KvlrError 'run-mismatch' for results of other models, windows or caches, and for parts that are missing or there twice;
 * 'invalid-argument' for none, and for results that are not of a part.
 */
export function mergeResults(parts: readonly NamedResult[]): EvaluationResult {
  const [first] = parts;
  if (first === undefined) throw new KvlrError('invalid-argument', { message: 'expected results to merge, got none' });
  for (const other of parts.slice(1)) requireSame(first, other);
  const inOrder = arrange(parts);
  const scores = inOrder.map(({ name, result }) => requireWindows(name, result));
  const all = (read: (windows: WindowScores) => readonly number[] | undefined) =>
    scores.flatMap((windows) => read(windows) ?? []);
  const { modelId, againstBase, windowLength, cache } = first.result;
  return summariseScores(
    {
      sources: scores.flatMap(({ sources }) => sources),
      negativeLogLikelihoods: all((windows) => windows.negativeLogLikelihoods),
      ...(againstBase && {
        baseNegativeLogLikelihoods: all((windows) => windows.baseNegativeLogLikelihoods),
        klDivergences: all((windows) => windows.klDivergences),
        topOneAgreements: all((windows) => windows.topOneAgreements),
      }),
    },
    { modelId, baseModelId: againstBase?.baseModelId, windowLength, cache },
  );
}

/** What has to be equal for windows to be counted together, each with its name. */
function traits({
  modelId,
  againstBase,
  windowLength,
  part,
  cache,
}: EvaluationResult): [name: string, value: string][] {
  return [
    ['model', modelId],
    ['base model', againstBase?.baseModelId ?? 'none'],
    ['length of windows', String(windowLength)],
    ['number of parts', String(part?.parts ?? 'none')],
    ['cache', JSON.stringify(cache)],
  ];
}

function requireSame(first: NamedResult, other: NamedResult): void {
  const expected = traits(first.result);
  for (const [index, [trait, received]] of traits(other.result).entries()) {
    const wanted = expected[index]![1];
    if (received === wanted) continue;
    throw new KvlrError('run-mismatch', {
      message: `expected the ${trait} of ${first.name}, ${wanted}, got ${received}`,
      hint: 'Merge parts of one evaluation.',
      where: { file: other.name },
      data: { file: other.name, expected: wanted, received },
    });
  }
}

/** The results in the order of their parts, each there once. */
function arrange(results: readonly NamedResult[]): NamedResult[] {
  const byPart = new Map<number, NamedResult>();
  for (const named of results) {
    const { part } = named.result;
    if (part === undefined) {
      throw new KvlrError('invalid-argument', {
        message: 'expected a result of a part of the windows, got one of all',
        hint: 'Parts are evaluated with --part.',
        where: { file: named.name },
        data: { file: named.name },
      });
    }
    const earlier = byPart.get(part.part);
    if (earlier !== undefined) throw otherParts(`part ${part.part} once, got it in ${earlier.name} too`, named.name);
    byPart.set(part.part, named);
  }
  const { parts } = results[0]!.result.part!;
  const numbers = Array.from({ length: parts }, (_, index) => index + 1);
  const missing = numbers.filter((number) => !byPart.has(number));
  if (missing.length > 0) throw otherParts(`all ${parts} parts, got none of ${missing.join(', ')}`);
  return numbers.map((number) => byPart.get(number)!);
}

function otherParts(expected: string, file?: string): KvlrError {
  return new KvlrError('run-mismatch', {
    message: `expected ${expected}`,
    hint: 'Give every part of the evaluation once.',
    ...(file !== undefined && { where: { file } }),
  });
}

/** The scores of a result's windows, as complete as it is itself. */
function requireWindows(name: string, { windows, againstBase }: EvaluationResult): WindowScores {
  if (windows !== undefined && (againstBase === undefined || windows.baseNegativeLogLikelihoods !== undefined)) {
    return windows;
  }
  throw new KvlrError('file-malformed', {
    message: 'expected a result with the scores of its windows, got one without',
    hint: 'Evaluate this part again.',
    where: { file: name },
    data: { file: name },
  });
}
