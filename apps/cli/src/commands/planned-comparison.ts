import { type PlannedComparisonRequest, planComparison } from '@kvlr/pipeline';
import type { OpenedModel } from '../inputs/models.ts';
import { countThreads, runtimeOf } from '../machine.ts';
import type { ComputeOptions } from '../options/options.ts';
import type { CommandContext } from '../terminal/terminal.ts';
import { plannedComparisonToText } from '../terminal/texts.ts';

/** What a comparison would take, for --dry-run. */
export async function printPlannedComparison(
  model: OpenedModel,
  request: PlannedComparisonRequest,
  options: ComputeOptions,
  { print, printJson }: CommandContext,
): Promise<void> {
  const threads = countThreads(options.workers, model.checkpoint);
  const planned = await planComparison({ ...request, runtime: runtimeOf(options) }, threads);
  print(plannedComparisonToText(model.name, planned));
  printJson(planned);
}
