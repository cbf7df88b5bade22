import type {
  AttentionReport,
  BenchmarkReport,
  EngineReport,
  PairedSpeedup,
  SplitTime,
} from '../documents/benchmark-report.ts';
import { describeLayout } from '../format/describe.ts';
import { formatBytes, formatCount, formatPercent, formatSignificant } from '../format/format.ts';
import { bytesCell, left, type ReportTable, right } from './report-table.ts';

/** Every table of a benchmark, in the order in which they are read. */
export function benchmarkTables(report: BenchmarkReport): ReportTable[] {
  const tables = [modelTable(report), prefillTable(report), decodeTable(report), costTable(report)];
  const { largestBatches } = report;
  if (largestBatches === undefined) return tables;
  const timed = largestBatches.rows.some(({ step }) => step !== undefined);
  return [...tables, timed ? timedBatchTable(largestBatches) : batchTable(report, largestBatches)];
}

function modelTable({ models }: BenchmarkReport): ReportTable {
  const loaded = models.some(({ loadSeconds }) => loadSeconds !== undefined);
  return {
    caption: 'Models',
    columns: [
      left('Model'),
      right('KV heads'),
      right('Weights on the device'),
      right('KV cache per token'),
      ...(loaded ? [right('Load, s')] : []),
    ],
    rows: models.map((model) => [
      model.name,
      describeLayout(model.shape),
      bytesCell(model.weightBytes),
      bytesCell(model.cacheBytesPerToken),
      ...(loaded ? [model.loadSeconds === undefined ? '' : formatSignificant(model.loadSeconds)] : []),
    ]),
  };
}

function prefillTable({ prefills }: BenchmarkReport): ReportTable {
  return {
    caption: 'Prefill',
    columns: [
      ...[left('Model'), right('Batch'), right('Prompt, tokens'), right('Tokens/s')],
      ...[right('First token, ms, p50'), right('p95'), right('Speed-up (lowest to highest)')],
    ],
    rows: prefills.map((row) => [
      row.model,
      formatCount(row.batch),
      formatCount(row.promptTokens),
      formatSignificant(row.tokensPerSecond),
      formatSignificant(row.firstToken.p50),
      formatSignificant(row.firstToken.p95),
      speedupText(row.speedup),
    ]),
  };
}

function decodeTable({ decodes }: BenchmarkReport): ReportTable {
  const isSplit = decodes.some(({ recorded }) => recorded !== undefined);
  return {
    caption: 'Decode',
    columns: [
      ...[left('Model'), right('Batch'), right('Context'), right('Tokens/s')],
      ...[right('Step, ms, p50'), right('p95'), ...(isSplit ? splitColumns : [])],
      right('Speed-up (lowest to highest)'),
    ],
    rows: decodes.map((row) => [
      row.model,
      formatCount(row.batch),
      formatCount(row.context),
      formatSignificant(row.tokensPerSecond),
      formatSignificant(row.step.p50),
      formatSignificant(row.step.p95),
      ...(isSplit ? splitCells(row.recorded) : []),
      speedupText(row.speedup),
    ]),
  };
}

const splitColumns = [right('Host, ms'), right('Device, ms')];

function splitCells(split: SplitTime | undefined): string[] {
  const text = (value: number | undefined) => (value === undefined ? '' : formatSignificant(value));
  return [text(split?.host), text(split?.device)];
}

function costTable({ decodes }: BenchmarkReport): ReportTable {
  const dispatched = decodes.some(({ dispatchesPerStep }) => dispatchesPerStep !== undefined);
  const count = (value: number | undefined) => (value === undefined ? '' : formatCount(value));
  return {
    caption: 'What one decode step takes',
    columns: [
      ...[left('Model'), right('Batch'), right('Context'), right('KV cache'), right('Weights and cache')],
      right('Bytes read'),
      ...(dispatched ? [right('Dispatches')] : []),
    ],
    rows: decodes.map((row) => [
      row.model,
      formatCount(row.batch),
      formatCount(row.context),
      bytesCell(row.cacheBytes),
      bytesCell(row.deviceBytes),
      bytesCell(row.bytesReadPerStep),
      ...(dispatched ? [count(row.dispatchesPerStep)] : []),
    ]),
  };
}

function timedBatchTable({ memoryBytes, rows }: NonNullable<BenchmarkReport['largestBatches']>): ReportTable {
  return {
    caption: `Decode at the largest batch in ${formatBytes(memoryBytes)}`,
    columns: [
      ...[left('Model'), right('Context'), right('Batch'), right('Tokens/s')],
      ...[right('Step, ms, p50'), right('p95'), right('Gain in tokens/s (lowest to highest)')],
    ],
    rows: rows.map(({ model, context, batch, tokensPerSecond, step, speedup }) => [
      model,
      formatCount(context),
      formatCount(batch),
      tokensPerSecond === undefined ? '' : formatSignificant(tokensPerSecond),
      step ? formatSignificant(step.p50) : '',
      step ? formatSignificant(step.p95) : '',
      speedupText(speedup),
    ]),
  };
}

function batchTable(
  { models }: BenchmarkReport,
  { memoryBytes, rows }: NonNullable<BenchmarkReport['largestBatches']>,
): ReportTable {
  const contexts = [...new Set(rows.map(({ context }) => context))];
  const batchOf = (model: string, context: number) =>
    rows.find((row) => row.model === model && row.context === context)?.batch ?? 0;
  return {
    caption: `Largest batch in ${formatBytes(memoryBytes)}`,
    columns: [left('Model'), ...contexts.map((context) => right(`${formatCount(context)} tokens`))],
    rows: models.map(({ name }) => [name, ...contexts.map((context) => formatCount(batchOf(name, context)))]),
  };
}

/** Attention by context, dtype and KV heads. */
export function attentionTable({ rows, copyBytesPerSecond }: AttentionReport): ReportTable {
  const isSplit = rows.some(({ split }) => split !== undefined);
  return {
    caption: `Decode attention of one layer; copying moves ${formatSignificant(copyBytesPerSecond / 1e9)} GB/s`,
    columns: [
      ...[left('Cache'), right('Context'), right('KV heads'), right('Call, ms, p50'), right('Least')],
      ...(isSplit ? splitColumns : []),
      ...[right('Bytes read'), right('GB/s'), right('Of copying'), right('Speed-up (lowest to highest)')],
    ],
    rows: rows.map((row) => [
      row.dtype,
      formatCount(row.context),
      formatCount(row.keyValueHeads),
      formatSignificant(row.call.p50),
      formatSignificant(row.call.least),
      ...(isSplit ? splitCells(row.split) : []),
      bytesCell(row.bytesRead),
      formatSignificant(row.bytesPerSecond / 1e9),
      formatPercent(row.bytesPerSecond / copyBytesPerSecond),
      speedupText(row.speedup),
    ]),
  };
}

/** Decoding by engine. */
export function engineTable({ rows }: EngineReport): ReportTable {
  return {
    caption: 'Decode, tokens per second',
    columns: [
      ...[left('Engine'), left('Model'), left('Types'), right('Context'), right('Tokens/s')],
      ...[
        right('Token, ms, p50'),
        right('p95'),
        right('Least'),
        right('Processor, ms'),
        right('Speed against the first (lowest to highest)'),
      ],
    ],
    rows: rows.map(({ engine, model, dtypes, context, step, tokensPerSecond, processor, speedup, problem }) => [
      engine,
      model,
      dtypes,
      formatCount(context),
      tokensPerSecond === undefined ? `did not run: ${problem}` : formatSignificant(tokensPerSecond),
      step ? formatSignificant(step.p50) : '',
      step ? formatSignificant(step.p95) : '',
      step ? formatSignificant(step.least) : '',
      processor ? formatSignificant(processor.p50) : '',
      speedupText(speedup),
    ]),
  };
}

/** A paired speed-up with the range of its rounds: "1.62x (1.55x to 1.71x)"; nothing for the base. */
function speedupText(speedup: PairedSpeedup | undefined): string {
  if (speedup === undefined) return '';
  const times = (value: number) => `${formatSignificant(value)}x`;
  return `${times(speedup.median)} (${times(speedup.lowest)} to ${times(speedup.highest)})`;
}
