import { type LayerSpectra, spectrumKinds } from '../documents/layer-spectra.ts';
import { formatPercent } from '../format/format-number.ts';
import { effectiveRank } from './effective-rank.ts';
import { energyShare } from './energy-share.ts';
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
