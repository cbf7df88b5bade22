import type { CompressionReport } from '../documents/compression-report.ts';
import { spectrumKinds } from '../documents/layer-spectra.ts';
import { describeCacheElement, describeEvaluation } from '../format/describe-evaluation.ts';
import { describeShape } from '../format/describe-layout.ts';
import { formatChange } from '../format/format-number.ts';
import { layoutConsequences, layoutKind } from '../format/layout-kind.ts';
import { type Child, element } from '../markup/element.ts';
import { cachePlot } from '../plots/cache-plot.ts';
import { reconstructionKinds, reconstructionPlot } from '../plots/reconstruction-plot.ts';
import { spectrumPlot } from '../plots/spectrum-plot.ts';
import { cacheTable } from '../tables/cache-table.ts';
import { energyTable } from '../tables/energy-table.ts';
import { environmentTable } from '../tables/environment-table.ts';
import { headlineTable } from '../tables/headline-table.ts';
import { qualityTable } from '../tables/quality-table.ts';
import { recipeTable } from '../tables/recipe-table.ts';
import { reconstructionTable } from '../tables/reconstruction-table.ts';
import { stageTable } from '../tables/stage-table.ts';
import { htmlFigure, htmlPanels } from './html-figure.ts';
import { htmlNotes, htmlPage, htmlSection } from './html-page.ts';
import { htmlTable } from './html-table.ts';
import { htmlTiles } from './html-tiles.ts';

function cacheSection(report: CompressionReport): Child {
  const series = [
    { title: 'Base', bytesPerToken: report.base.cache.bytesPerToken },
    { title: 'Result', bytesPerToken: report.result.cache.bytesPerToken },
  ];
  return htmlSection(
    'What it saves',
    htmlFigure(
      'cache',
      (width) => cachePlot(series, report.contexts, report.model.name, width),
      `Memory of one sequence's KV cache. ${describeCacheElement(report.result.cache.bytesPerElement)}`,
    ),
    htmlTable(cacheTable(series, report.contexts)),
  );
}

function spectraSection(report: CompressionReport): Child {
  const spectra = report.spectra ?? [];
  if (spectra.length === 0) return undefined;
  return htmlSection(
    'Why it can work: few directions hold most of the energy',
    element(
      'p',
      {},
      'Each line shows the eigenvalues of the second moment of all KV heads of a layer over the calibration text, largest ' +
        'first. The steeper it falls, the less is lost when directions are dropped. RoPE spreads the keys over more directions.',
    ),
    htmlPanels(
      'spectrum',
      spectra.map(spectrumPlot),
      spectrumKinds.map(({ title }) => title),
      'Eigenvalue relative to the largest, logarithmic. The figures above each panel are the share of the energy in the ' +
        'first quarter of the directions, in the colours of the lines.',
    ),
    htmlTable(energyTable(spectra)),
  );
}

function reconstructionSection(report: CompressionReport): Child {
  const layers = report.reconstruction ?? [];
  if (layers.length === 0) return undefined;
  return htmlSection(
    'How block reconstruction went',
    htmlPanels(
      'reconstruction',
      layers.map(reconstructionPlot),
      reconstructionKinds.map(({ title }) => title),
      'Error of the residual stream after each block while its attention was fitted, as a share of the energy of what the ' +
        'original block adds to it; logarithmic. The figures above each panel are the held-out error of the closed form and ' +
        'of the weights that were kept.',
    ),
    htmlTable(reconstructionTable(layers)),
  );
}

/** The whole report on one compressed checkpoint as a self-contained HTML page. */
export function compressionHtml(report: CompressionReport): string {
  const saved = formatChange(report.result.cache.bytesPerToken / report.base.cache.bytesPerToken - 1);
  const layout = layoutKind(report.resultShape);
  const loads =
    layout === 'stock'
      ? 'The result is an ordinary grouped-query checkpoint: engines that load the base model load it.'
      : `The result has ${layout}. ${layoutConsequences[layout]}`;
  return htmlPage({
    title: report.title,
    description: `KV cache ${saved} against ${report.model.name}, with its cost in quality.`,
    lead: [
      element('p', {}, element('strong', {}, report.model.name), ` · ${describeShape(report.model.shape)}. ${loads}`),
      htmlTiles(headlineTable(report)),
      element('p', { class: 'quiet' }, describeEvaluation(report.result)),
      htmlNotes(report.notes),
    ],
    body: [
      htmlSection('What it costs', htmlTable(qualityTable(report.base, report.result))),
      cacheSection(report),
      spectraSection(report),
      reconstructionSection(report),
      htmlSection(
        'How it was made',
        element(
          'div',
          { class: 'facts' },
          htmlTable(recipeTable(report.recipe)),
          element('div', {}, htmlTable(stageTable(report.stages)), htmlTable(environmentTable(report.environment))),
        ),
      ),
    ],
  });
}
