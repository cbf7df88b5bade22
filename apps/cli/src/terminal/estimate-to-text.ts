import type { CompressionEstimate } from '@kvlr/pipeline';
import { formatBytes, formatDuration } from '@kvlr/report';
import type { BackendChoice } from '@kvlr/runtime';

/** What a compression would take, for --dry-run. */
export function estimateToText(name: string, backend: BackendChoice, estimate: CompressionEstimate): string {
  const stages = estimate.stages
    .filter((stage) => stage.seconds > 0)
    .map((stage) => `${stage.title} ${formatDuration(stage.seconds)}`);
  return [
    `${name} to ${estimate.keyValueHeads} KV heads: nothing was computed or written.`,
    '',
    `Memory  about ${formatBytes(estimate.memoryBytes)}`,
    `Disk    ${formatBytes(estimate.outputBytes)} for the checkpoint, ${formatBytes(estimate.runDirectoryBytes)} for the run directory`,
    `Time    about ${formatDuration(estimate.seconds)} (${stages.join(', ')}),`,
    `        assuming ${Math.round(estimate.assumedSpeed / 1e9)} GFLOP/s on ${backend.backend} (${backend.reason})`,
  ].join('\n');
}
