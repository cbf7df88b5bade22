export { readTaskFile, type TaskDefinition, type TaskFiles, type TaskGroup } from './definition/read-task.ts';
export type { MetricName, TaskFields } from './definition/task-fields.ts';
export {
  compareLongContexts,
  type LongContextCell,
  type LongContextChange,
  type LongContextResult,
  type LongContextSettings,
  type PositionPerplexity,
  probeLongContext,
} from './long-context.ts';
export {
  type DataFile,
  type DocumentProcessor,
  documentProcessors,
  readDocuments,
} from './prompts/documents.ts';
export {
  buildPrompts,
  type ContinuationText,
  countFewshot,
  type PromptRequest,
  type TaskPrompt,
} from './prompts/prompts.ts';
export type { TaskDocument } from './prompts/templates.ts';
export { type HarnessSample, harnessSamples, taskHash } from './results/samples.ts';
export {
  metricsOf,
  partsOf,
  type TaskResult,
  type TaskResultsFile,
  type TaskResultsSettings,
  taskResultsFile,
} from './results/task-results.ts';
export { rollingWindows } from './scoring/encode-prompts.ts';
export { keepScores } from './scoring/kept-scores.ts';
export {
  aggregate,
  comparePaired,
  type MetricEstimate,
  type MetricPart,
  type PairedDifference,
  type TaskAnswer,
} from './scoring/metrics.ts';
export { type AnswerStore, runTask, type TaskRun, type TaskSample } from './scoring/run-task.ts';
export type { GreedyRequest, ScoredSequence, SequenceScore, TaskModel } from './scoring/task-model.ts';
