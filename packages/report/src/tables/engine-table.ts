import type { EngineReport } from '../documents/engine-report.ts';
import { formatCount, formatSignificant } from '../format/format-number.ts';
import { left, type ReportTable, right } from './report-table.ts';
import { speedupText } from './speedup-text.ts';

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
