import { type LayerSpectra, spectrumKinds } from '../documents/compression-report.ts';
import { formatPercent } from '../format/format.ts';
import { left, type ReportTable, right } from './report-table.ts';

/**
 * How much of each layer's keys and values lies in few directions: in the quarter and the half that a smaller cache could
 * keep, and how many directions they really use.
 */
export function energyTable(spectra: readonly LayerSpectra[]): ReportTable {
  const shares = [0.25, 0.5];
  return {
    caption: 'Energy held by the first quarter and the first half of the directions, and effective rank',
    columns: [
      left('Layer'),
      ...spectrumKinds.flatMap(({ title }) => [right(`${title}, 1/4`), right('1/2'), right('rank')]),
    ],
    rows: spectra.map((layer) => [
      String(layer.layer),
      ...spectrumKinds.flatMap(({ kind }) => [
        ...shares.map((share) => formatPercent(energyShare(layer[kind], share))),
        formatRank(effectiveRank(layer[kind]), layer[kind].length),
      ]),
    ]),
  };
}

/** One sentence: what the first quarter of the directions holds, from the layer where it is least to where it is most. */
export function describeEnergy(spectra: readonly LayerSpectra[]): string {
  const ranges = spectrumKinds.map(({ kind, title }) => {
    const shares = spectra.map((layer) => energyShare(layer[kind], 0.25));
    const [least, most] = [Math.min(...shares), Math.max(...shares)].map((share) => formatPercent(share, 0));
    return `${least === most ? least : `${least} to ${most}`} of the energy of ${title}`;
  });
  return (
    `A quarter of the directions holds ${ranges.join(', ')}. Rank: effective rank, exp of the entropy of the eigenvalues ` +
    'as shares of their sum.'
  );
}

function formatRank(rank: number, directions: number): string {
  return Number.isNaN(rank) ? 'n/a' : `${rank.toFixed(0)} of ${directions}`;
}

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
