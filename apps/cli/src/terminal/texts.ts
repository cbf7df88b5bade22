import { describeBudget } from '@kvlr/pipeline';
import type { PlannedCompression } from '@kvlr/pipeline/node';
import { formatBytes, formatDuration } from '@kvlr/report';

/** What a compression would take, for --dry-run. A budget that is not known before the run is named by its policy alone. */
export function planToText(name: string, { plan, backend, estimate, budget }: PlannedCompression): string {
  const stages = estimate.stages
    .filter((stage) => stage.seconds > 0)
    .map((stage) => `${stage.title} ${formatDuration(stage.seconds)}`);
  const { policy } = plan.recipe.budget;
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

/** The entries of a registry for a help text, one a line: name and what it is. */
export function listNames<Entry>(
  { entries }: { entries: Readonly<Record<string, Entry>> },
  describe: (entry: Entry) => string,
): string {
  const width = Math.max(...Object.keys(entries).map((name) => name.length));
  return Object.entries(entries)
    .map(([name, entry]) => `  ${name.padEnd(width)}  ${describe(entry)}`)
    .join('\n');
}

/** Names for a help text, as many on a line as fit. */
export function wrapNames(names: readonly string[], width = 110): string {
  const lines: string[] = [];
  for (const name of names) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + name.length + 2 <= width) lines[lines.length - 1] = `${last}, ${name}`;
    else lines.push(`  ${name}`);
  }
  return lines.join(',\n');
}
