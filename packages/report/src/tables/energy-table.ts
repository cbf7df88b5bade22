import { type LayerSpectra, spectrumKinds } from '../documents/layer-spectra.ts';
import { formatPercent } from '../format/format-number.ts';
import { energyShare } from './energy-share.ts';
import { left, type ReportTable, right } from './report-table.ts';

/** How much of each layer's keys and values lies in few directions: the quarter and the half that a smaller cache could keep. */
export function energyTable(spectra: readonly LayerSpectra[]): ReportTable {
  const shares = [0.25, 0.5];
  return {
    caption: 'Energy held by the first quarter and the first half of the directions',
    columns: [left('Layer'), ...spectrumKinds.flatMap(({ title }) => [right(`${title}, 1/4`), right('1/2')])],
    rows: spectra.map((layer) => [
      String(layer.layer),
      ...spectrumKinds.flatMap(({ kind }) => shares.map((share) => formatPercent(energyShare(layer[kind], share)))),
    ]),
  };
}
