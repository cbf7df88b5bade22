/**
 * Learning rate at a step, 0-based: a linear rise over the first `warmupSteps`, then half a cosine down to zero
 * (Loshchilov and Hutter 2017, without restarts).
 */
export function learningRateAt(
  step: number,
  schedule: { learningRate: number; steps: number; warmupSteps: number },
): number {
  const { learningRate, steps, warmupSteps } = schedule;
  if (step < warmupSteps) return (learningRate * (step + 1)) / warmupSteps;
  const progress = (step - warmupSteps) / Math.max(1, steps - warmupSteps);
  return (learningRate * (1 + Math.cos(Math.PI * progress))) / 2;
}
