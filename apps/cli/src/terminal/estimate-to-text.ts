import { type CacheBudget, type CompressionEstimate, describeBudget } from '@kvlr/pipeline';
import { formatBytes, formatDuration } from '@kvlr/report';
import type { BackendChoice } from '@kvlr/runtime';

/** What a compression would take, for --dry-run. A budget that is not known before the run is named by its policy alone. */
export function estimateToText(
  name: string,
  backend: BackendChoice,
  estimate: CompressionEstimate,
  { policy, budget }: { policy: string; budget: CacheBudget | undefined },
): string {
  const stages = estimate.stages
    .filter((stage) => stage.seconds > 0)
    .map((stage) => `${stage.title} ${formatDuration(stage.seconds)}`);
  const heads = `${estimate.keyValueHeads} KV ${estimate.keyValueHeads === 1 ? 'head' : 'heads'}`;
  const total = `the total of ${heads} in every layer`;
  const layers = budget ? describeBudget(budget) : 'decided layer by layer during the run';
  return [
    `${name} to ${heads}: nothing was computed or written.`,
    '',
    ...(policy === 'uniform' ? [] : [`Budget  ${layers} (${policy}, ${total})`]),
    `Memory  about ${formatBytes(estimate.memoryBytes)}`,
    `Disk    ${formatBytes(estimate.outputBytes)} for the checkpoint, ${formatBytes(estimate.runDirectoryBytes)} for the run directory`,
    `Time    about ${formatDuration(estimate.seconds)} (${stages.join(', ')}),`,
    `        assuming ${Math.round(estimate.assumedSpeed / 1e9)} GFLOP/s on ${backend.backend} (${backend.reason})`,
  ].join('\n');
}
