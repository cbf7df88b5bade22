import type { RunControl } from '@kvlr/core';
import type { EvaluationWindow } from '@kvlr/evaluation';
import { RunContext } from '../run/run-context.ts';
import { MemoryRunStore } from '../store/memory-run-store.ts';

/** An evaluation outside a compression: announced like a stage, and nothing of it is kept. */
export function evaluationStage<Value>(
  control: RunControl,
  windows: readonly EvaluationWindow[],
  work: (control: RunControl) => Promise<Value>,
): Promise<Value> {
  const count = windows.length.toLocaleString('en-US');
  const title = `Perplexity on ${count} windows of ${windows[0]?.tokenIds.length ?? 0} tokens`;
  return new RunContext(new MemoryRunStore(), control, false).stage('evaluation', title, async (stageControl) => ({
    value: await work(stageControl),
  }));
}
