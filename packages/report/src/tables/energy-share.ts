/**
 * Share of the energy (the sum of the eigenvalues) that the first `share` of the directions hold, 0..1. The count of
 * directions is rounded. NaN where there is no energy.
 */
export function energyShare(eigenvalues: ArrayLike<number>, share: number): number {
  const kept = Math.round(eigenvalues.length * share);
  let total = 0;
  let held = 0;
  for (let index = 0; index < eigenvalues.length; index++) {
    const value = Math.max(0, eigenvalues[index]!);
    total += value;
    if (index < kept) held += value;
  }
  return held / total;
}
