/**
 * How many directions a spectrum really uses: exp of the entropy of the eigenvalues as shares of their sum (Roy & Vetterli
 * 2007, "The effective rank"). From 1, where one direction holds everything, to their count, where all hold the same. NaN
 * where there is no energy.
 */
export function effectiveRank(eigenvalues: ArrayLike<number>): number {
  let total = 0;
  for (let index = 0; index < eigenvalues.length; index++) total += Math.max(0, eigenvalues[index]!);
  if (!(total > 0)) return Number.NaN;
  let entropy = 0;
  for (let index = 0; index < eigenvalues.length; index++) {
    const share = Math.max(0, eigenvalues[index]!) / total;
    if (share > 0) entropy -= share * Math.log(share);
  }
  return Math.exp(entropy);
}
