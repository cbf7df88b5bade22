import type { ComparisonReport } from '../documents/comparison-report.ts';
import { type CompressionReport, spectrumKinds } from '../documents/compression-report.ts';
import {
  describeCacheElement,
  describeEvaluation,
  describeShape,
  layoutConsequences,
  layoutKind,
  listReferences,
} from '../format/describe.ts';
import { formatChange, formatMeasurement, formatRatio } from '../format/format.ts';
import { type Child, element } from '../markup.ts';
import { affinityPlot } from '../plots/affinity-plot.ts';
import { alternativesPlot } from '../plots/alternatives-plot.ts';
import { cachePlot } from '../plots/cache-plot.ts';
import { comparisonPlot } from '../plots/comparison-plot.ts';
import { reconstructionKinds, reconstructionPlot, spectrumPlot } from '../plots/layer-plots.ts';
import { heldOutPerplexityPlot, lossPlot, trainingKinds } from '../plots/training-plot.ts';
import { alternativesNote, alternativesTable } from '../tables/alternatives-table.ts';
import {
  comparisonDetailTable,
  comparisonTable,
  groupByMethod,
  orderNote,
  orderTable,
} from '../tables/comparison-tables.ts';
import {
  headlineTable,
  qualityTable,
  recipeTable,
  reconstructionTable,
  stageTable,
  tookSteps,
} from '../tables/compression-tables.ts';
import { energyTable } from '../tables/energy-table.ts';
import { headsTable } from '../tables/heads-table.ts';
import { cacheTable, comparisonCacheSeries, compressionCacheSeries, environmentTable } from '../tables/report-table.ts';
import { htmlFigure, htmlNotes, htmlPage, htmlPanels, htmlSection, htmlTable, htmlTiles } from './page.ts';

function cacheSection(report: CompressionReport): Child {
  const series = compressionCacheSeries(report);
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

function headsSection({ heads = [] }: CompressionReport): Child {
  if (heads.length === 0) return undefined;
  return htmlSection(
    'Which heads share one',
    htmlPanels(
      'affinity',
      heads.map(affinityPlot),
      [],
      'The stronger the tone, the more of the directions of two heads\u2019 keys and values are the same, on a scale of its own for each ' +
        'layer. Outlined: heads that share one.',
    ),
    htmlTable(headsTable(heads)),
  );
}

function alternativesSection({ alternatives }: CompressionReport): Child {
  if (alternatives === undefined) return undefined;
  return htmlSection(
    'Quality against bytes',
    htmlFigure(
      'alternatives',
      (width) => alternativesPlot(alternatives, width),
      `Lower left is better; upright lines are one standard error to either side. ${alternativesNote(alternatives)}`,
    ),
    htmlTable(alternativesTable(alternatives)),
  );
}

function samplesSection({ samples = [] }: CompressionReport): Child {
  if (samples.length === 0) return undefined;
  const text = (title: string, written: string, shared: number) =>
    element(
      'div',
      {},
      element('h3', {}, title),
      element('p', {}, written.slice(0, shared), element('mark', {}, written.slice(shared))),
    );
  return htmlSection(
    'What both write',
    element(
      'p',
      {},
      'Beginnings from held-out text; the likeliest token each time. Marked: what comes after the first difference.',
    ),
    samples.map(({ source, prompt, base, result, sharedCharacters }) => [
      element('p', { class: 'prompt' }, element('span', { class: 'quiet' }, `${source}: `), prompt),
      element(
        'div',
        { class: 'samples' },
        text('Base', base, sharedCharacters),
        text('Result', result, sharedCharacters),
      ),
    ]),
  );
}

function repeatSection({ repeat }: CompressionReport): Child {
  if (repeat === undefined) return undefined;
  const link = (file: string) => element('a', { href: file }, file);
  return htmlSection(
    'Again',
    element('p', {}, 'Where the run was started: ', element('code', {}, repeat)),
    element('p', {}, 'All figures are in ', link('report.json'), ', all settings in ', link('recipe.yaml'), '.'),
  );
}

function reconstructionSection(report: CompressionReport): Child {
  const layers = report.reconstruction ?? [];
  if (layers.length === 0) return undefined;
  if (!layers.some(tookSteps)) return htmlSection('What the refit took back', htmlTable(reconstructionTable(layers)));
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

function trainingSection({ training }: CompressionReport): Child {
  if (training === undefined) return undefined;
  return htmlSection(
    'How training went',
    htmlPanels(
      'training',
      [lossPlot(training), heldOutPerplexityPlot(training)],
      trainingKinds.map(({ title }) => title),
      'Loss while all layers were trained together, and the perplexity of text that was not trained on. The dot is what was kept.',
    ),
  );
}

/** The whole report on one compressed checkpoint as a self-contained HTML page. */
export function compressionHtml(report: CompressionReport): string {
  const saved = formatChange(report.result.cache.bytesPerToken / report.base.cache.bytesPerToken - 1);
  const quality = qualityTable(report);
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
      ...(quality ? [htmlSection('What it costs', htmlTable(quality))] : []),
      alternativesSection(report),
      cacheSection(report),
      samplesSection(report),
      spectraSection(report),
      headsSection(report),
      reconstructionSection(report),
      trainingSection(report),
      repeatSection(report),
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

/** The comparison of methods as a self-contained HTML page. Throws 'invalid-argument' without rows. */
export function comparisonHtml(report: ComparisonReport): string {
  const { methods, ratios } = groupByMethod(report);
  const { orders = [] } = report;
  const series = comparisonCacheSeries(report);
  const references = listReferences(report);
  const caption =
    'Each bar starts at the base model, so its length is what the method costs; the pale band around its end is one ' +
    `standard error to either side.${references ? ` Upright ticks are reference figures. ${references}` : ''}`;
  return htmlPage({
    title: report.title,
    description: `${methods.length} ways to shrink the KV cache of ${report.model.name}, by perplexity.`,
    lead: [
      element('p', {}, element('strong', {}, report.model.name), ` · ${describeShape(report.model.shape)}.`),
      element(
        'p',
        {},
        `Base perplexity ${formatMeasurement(report.base.perplexity)}. ${describeEvaluation(report.base)} ` +
          'Stock layouts are ordinary grouped-query checkpoints that any engine loads; the others run in kvlr’s runtime.',
      ),
      htmlNotes(report.notes),
    ],
    body: [
      htmlSection(
        'What each method costs',
        htmlFigure('comparison', (width) => comparisonPlot(report, width), caption),
        htmlTable(comparisonTable(report), { baseRow: true }),
      ),
      orders.length > 0
        ? htmlSection(
            'Which is better, and where that is noise',
            element('p', {}, orderNote),
            orders.map((order) => htmlTable(orderTable(report, order), { baseRow: true })),
          )
        : undefined,
      htmlSection(
        'Every figure',
        element(
          'div',
          { class: 'detail' },
          ratios.map((ratio) => htmlTable(comparisonDetailTable(report, ratio), { baseRow: true })),
        ),
      ),
      htmlSection(
        'What each ratio saves',
        htmlFigure(
          'cache',
          (width) => cachePlot(series, report.contexts, report.model.name, width),
          `Memory of one sequence's KV cache, shares of ${ratios.map(formatRatio).join(', ')} kept. ` +
            describeCacheElement(report.base.cache.bytesPerElement),
        ),
        htmlTable(cacheTable(series, report.contexts)),
      ),
      report.environment
        ? htmlSection('Made on', element('div', { class: 'facts' }, htmlTable(environmentTable(report.environment))))
        : undefined,
    ],
  });
}
