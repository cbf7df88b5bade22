import { describeEngines } from '@kvlr/checkpoint';
import { describeBudget, type PlannedComparison, type PlannedRecovery } from '@kvlr/pipeline';
import type { PlannedCompression } from '@kvlr/pipeline/node';
import { formatBytes, formatChange, formatCount, formatDuration } from '@kvlr/report';

/** What a compression would take, for --dry-run. A budget that is not known before the run is named by its policy alone. */
export function planToText(name: string, { plan, backend, engine, estimate, budget }: PlannedCompression): string {
  const stages = estimate.stages
    .filter((stage) => stage.seconds > 0)
    .map((stage) => `${stage.title} ${formatDuration(stage.seconds)}`);
  const { policy } = plan.recipe.budget;
  const wide = estimate.headWidth > 1 ? ` of ${estimate.headWidth * plan.model.shape.headDim}` : '';
  const heads = `${estimate.keyValueHeads} KV ${estimate.keyValueHeads === 1 ? 'head' : 'heads'}${wide}`;
  const total = `the total of ${heads} in every layer`;
  const layers = budget ? describeBudget(budget) : 'decided layer by layer during the run';
  const { temporaryBytes } = estimate;
  const temporary = temporaryBytes > 0 ? `, ${formatBytes(temporaryBytes)} for temporary files` : '';
  return [
    `${name} to ${heads}: nothing was written.`,
    '',
    ...outcomeToText(plan),
    ...(policy === 'uniform' ? [] : [`Budget  ${layers} (${policy}, ${total})`]),
    ...(wide ? priceToText(plan, estimate) : []),
    `Memory  about ${formatBytes(estimate.memoryBytes)}`,
    `Disk    ${formatBytes(estimate.outputBytes)} for the checkpoint, ${formatBytes(estimate.runDirectoryBytes)} for the run directory${temporary}`,
    `Time    about ${formatDuration(estimate.seconds)} (${stages.join(', ')}),`,
    `        at ${gigaflops(estimate.assumedSpeed)} on ${backend.backend} (${backend.reason})`,
    ...(estimate.windowSpeed === estimate.assumedSpeed
      ? []
      : [`        and ${gigaflops(estimate.windowSpeed)} for windows on ${engine}`]),
    ...trainingToText(estimate, engine),
  ].join('\n');
}

/** What a recovery would take, for people. */
export function plannedRecoveryToText(name: string, planned: PlannedRecovery): string {
  const { stages, seconds, memoryBytes, outputBytes, backend } = planned;
  const times = stages
    .filter((stage) => stage.seconds > 0)
    .map((stage) => `${stage.title} ${formatDuration(stage.seconds)}`);
  return [
    `${name}: nothing was written.`,
    '',
    `Memory  about ${formatBytes(memoryBytes)}`,
    `Disk    ${formatBytes(outputBytes)} for the checkpoint`,
    `Time    about ${formatDuration(seconds)} (${times.join(', ')}), on ${backend.backend} (${backend.reason})`,
  ].join('\n');
}

/** What a comparison would take, for people. */
export function plannedComparisonToText(name: string, planned: PlannedComparison): string {
  const { rows, seconds, memoryBytes, backend, engine } = planned;
  const heads = ({ keyValueHeads }: { keyValueHeads: number }) =>
    `${keyValueHeads} KV ${keyValueHeads === 1 ? 'head' : 'heads'}`;
  return [
    `${rows.length} rows of ${name}: nothing was written.`,
    '',
    ...rows.map((row) => `${formatDuration(row.seconds).padStart(12)}  ${row.title}, ${heads(row)}`),
    '',
    `Memory  about ${formatBytes(memoryBytes)}`,
    `Time    about ${formatDuration(seconds)}, with the statistics and the original's evaluation, on ${backend.backend} (${backend.reason});`,
    `        windows on ${engine}`,
  ].join('\n');
}

/** What trains blocks, where it is not what computes all else. */
function trainingToText({ blockSpeed, assumedSpeed }: PlannedCompression['estimate'], engine: string): string[] {
  if (blockSpeed === undefined || blockSpeed === assumedSpeed) return [];
  return [`        and ${gigaflops(blockSpeed)} for blocks in training, on ${engine}`];
}

function gigaflops(speed: number): string {
  return `${Math.round(speed / 1e9)} GFLOP/s`;
}

/** What the result will load into, and what else is to be known before. */
function outcomeToText({ outcome, notes }: PlannedCompression['plan']): string[] {
  return [
    ...notes.map((note) => `Note    ${note}`),
    `Loads   into ${describeEngines(outcome.loadsInto)}`,
    ...(outcome.approximation ? [`Merges  are approximate: ${outcome.approximation}`] : []),
  ];
}

/** Bytes of the cache, and what wide heads cost beside them. */
function priceToText({ cache, model }: PlannedCompression['plan'], estimate: PlannedCompression['estimate']): string[] {
  const { parameters, attentionProducts } = estimate.price;
  const share = (estimate.keyValueHeads * estimate.headWidth) / model.shape.numKeyValueHeads;
  const change = formatChange(parameters.result / parameters.source - 1);
  return [
    `Cache   ${formatBytes(share * cache.bytesPerToken)} a token instead of ${formatBytes(cache.bytesPerToken)}`,
    `Price   ${formatCount(parameters.result)} parameters instead of ${formatCount(parameters.source)} (${change}); attention`,
    `        multiplies ${formatCount(attentionProducts.result)} numbers with a cached token instead of ${formatCount(attentionProducts.source)}`,
  ];
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
