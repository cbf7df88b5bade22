import type { Measurement } from '@kvlr/core';
import { formatChange, formatExactBytes, formatMeasurement } from '@kvlr/report';
import { type CodecScore, type PairRecord, type PairSet, scoreOf, usualCodec } from '../pair.ts';
import { setText } from './elements.ts';

const percent = (share: number, digits = 1): string => `${(100 * share).toFixed(digits)}%`;

/** The standard error of a share, where there are windows enough for one. */
function within({ standardError }: Measurement): string {
  return standardError === undefined ? '' : `± ${percent(standardError)}; `;
}

/** Share of the usual cache that is no longer there: 0.5 -> "−50%". */
export function savedShare(score: CodecScore, usual: CodecScore): string {
  return formatChange(score.bytesPerToken / usual.bytesPerToken - 1, 0);
}

/** The three figures at the top, each with the original's beside it. */
export function showHeadline(set: PairSet, record: PairRecord, codec: string): void {
  const usual = scoreOf(set.records[0]!, usualCodec);
  const score = scoreOf(record, codec);
  setText('#figure-cache', savedShare(score, usual));
  setText(
    '#base-cache',
    `${formatExactBytes(score.bytesPerToken)} a token, of ${formatExactBytes(usual.bytesPerToken)}`,
  );
  setText('#figure-agreement', percent(score.agreement.value));
  setText('#base-agreement', `${within(score.agreement)}100% would be the original`);
  setText('#figure-perplexity', score.perplexity.value.toFixed(2));
  const { value, standardError } = score.perplexityRatio;
  const change = `${formatChange(value - 1)}${standardError === undefined ? '' : ` ± ${percent(standardError)}`}`;
  setText('#base-perplexity', `original ${formatMeasurement(usual.perplexity)}; ${change}`);
}
