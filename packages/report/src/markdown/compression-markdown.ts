import type { CompressionReport } from '../documents/compression-report.ts';
import { describeCacheElement, describeEvaluation } from '../format/describe-evaluation.ts';
import { describeShape } from '../format/describe-layout.ts';
import { cacheTable } from '../tables/cache-table.ts';
import { energyTable } from '../tables/energy-table.ts';
import { environmentTable } from '../tables/environment-table.ts';
import { headlineTable } from '../tables/headline-table.ts';
import { qualityTable } from '../tables/quality-table.ts';
import { recipeTable } from '../tables/recipe-table.ts';
import { reconstructionTable } from '../tables/reconstruction-table.ts';
import { stageTable } from '../tables/stage-table.ts';
import { escapeMarkdown } from './escape-markdown.ts';
import { markdownReportTable, markdownSection } from './markdown-report-table.ts';

/** The whole report on one compressed checkpoint as GitHub-flavoured Markdown. */
export function compressionMarkdown(report: CompressionReport): string {
  const { base, result } = report;
  const cacheSeries = [
    { title: 'Base', bytesPerToken: base.cache.bytesPerToken },
    { title: 'Result', bytesPerToken: result.cache.bytesPerToken },
  ];
  const parts = [
    `# ${escapeMarkdown(report.title)}`,
    `Base model: ${escapeMarkdown(report.model.name)} (${escapeMarkdown(describeShape(report.model.shape))}).`,
    markdownReportTable(headlineTable(report)),
    escapeMarkdown(`${describeEvaluation(result)} ${describeCacheElement(result.cache.bytesPerElement)}`),
    ...(report.notes ?? []).map((note) => `> ${escapeMarkdown(note)}`),
    markdownSection(qualityTable(base, result)),
    markdownSection(cacheTable(cacheSeries, report.contexts)),
  ];
  if (report.spectra?.length) parts.push(markdownSection(energyTable(report.spectra)));
  if (report.reconstruction?.length) parts.push(markdownSection(reconstructionTable(report.reconstruction)));
  parts.push(
    markdownSection(recipeTable(report.recipe)),
    markdownSection(stageTable(report.stages)),
    markdownSection(environmentTable(report.environment)),
  );
  return `${parts.join('\n\n')}\n`;
}
