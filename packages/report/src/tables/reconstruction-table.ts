import type { LayerReconstruction } from '../documents/layer-reconstruction.ts';
import { formatChange, formatCount, formatFineShare } from '../format/format-number.ts';
import { left, type ReportTable, right } from './report-table.ts';

/** Held-out error of each layer before and after block reconstruction. */
export function reconstructionTable(layers: readonly LayerReconstruction[]): ReportTable {
  return {
    caption: 'Block reconstruction, error on held-out calibration text',
    columns: [left('Layer'), right('Closed form'), right('After'), right('Change'), right('Steps')],
    rows: layers.map((layer) => [
      String(layer.layer),
      formatFineShare(layer.heldOutBefore),
      formatFineShare(layer.heldOutAfter),
      formatChange(layer.heldOutAfter / layer.heldOutBefore - 1),
      formatCount(Math.max(0, ...layer.history.map((reading) => reading.step))),
    ]),
  };
}
