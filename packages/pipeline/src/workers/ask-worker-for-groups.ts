import type { GroupingTask } from './messages.ts';
import type { ModelWorkers } from './model-workers.ts';
import { shareFields, shareNumbers } from './share-numbers.ts';

const unread = new Float64Array(0);

/**
 * Asks a worker for the groups of a layer by a strategy that is known by its name. What crosses to it goes through shared
 * memory; what only measurements read stays behind without one.
 */
export function askWorkerForGroups(workers: ModelWorkers, task: GroupingTask): Promise<number[][]> {
  const { strategy, question, measurement } = task;
  const { weights, statistics } = question;
  const withoutInputs = statistics && { ...statistics, inputSecondMoment: unread, inputMean: unread };
  const read = measurement
    ? { weights, statistics: withoutInputs }
    : {
        weights: { ...weights, query: unread },
        statistics: withoutInputs && {
          ...withoutInputs,
          rotatedKeySecondMoment: unread,
          rotatedQuerySecondMoment: unread,
          attendedSecondMoment: unread,
        },
      };
  return workers.group({
    strategy,
    question: {
      ...question,
      weights: shareFields(read.weights),
      statistics: read.statistics && shareFields(read.statistics),
    },
    measurement: measurement && {
      method: measurement.method,
      inputs: {
        tokens: measurement.inputs.tokens,
        rows: { ...measurement.inputs.rows, data: shareNumbers(measurement.inputs.rows.data) },
      },
    },
  });
}
