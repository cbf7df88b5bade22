import type { LayoutKind } from '../documents/comparison-report.ts';
import type { CompressionReport } from '../documents/compression-report.ts';
import {
  describeCacheElement,
  describeEvaluation,
  describeLayout,
  describeShape,
  layoutConsequences,
  layoutKind,
} from '../format/describe.ts';
import { headlineTable, qualityTable, recipeTable } from '../tables/compression-tables.ts';
import { cellText, type ReportTable } from '../tables/report-table.ts';
import { escapeMarkdown, markdownReportTable, markdownSection } from './report-markdown.ts';

/** Hub ids name an owner and a model; anything else is no value for `base_model`. */
const hubId = /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*$/;

function frontMatter(report: CompressionReport, stock: boolean): string {
  const lines = [
    ...(stock ? ['library_name: transformers', 'pipeline_tag: text-generation'] : []),
    ...(hubId.test(report.model.name) ? [`base_model: ${JSON.stringify(report.model.name)}`] : []),
    'tags:',
    '  - kvlr',
    '  - kv-cache-compression',
    ...(stock ? ['  - grouped-query-attention'] : []),
  ];
  return `---\n${lines.join('\n')}\n---`;
}

const exportLine = 'npx kvlr export DIR --gguf model.gguf && llama-server -m model.gguf';

const stockLoading = `This is an ordinary grouped-query checkpoint: engines that load the base model load it unchanged. With \`DIR\` for this
directory:

\`\`\`python
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("DIR")
tokenizer = AutoTokenizer.from_pretrained("DIR")
\`\`\`

\`\`\`sh
vllm serve DIR
${exportLine}
npx kvlr generate DIR --prompt "Once upon a time"
\`\`\``;

function loading(layout: LayoutKind): string {
  if (layout === 'stock') return stockLoading;
  return `${escapeMarkdown(layoutConsequences[layout])} With \`DIR\` for this directory:

\`\`\`sh
${layout === 'per-layer heads' ? `${exportLine}\n` : ''}npx kvlr generate DIR --prompt "Once upon a time"
\`\`\``;
}

/** Absolute paths and file URLs: they name places on the machine of the run, which a published card should not. */
const localPath = /^(\/|~\/|\.{1,2}\/|[A-Za-z]:[\\/]|\\\\|file:)/;

/** A name as a card may state it: of a local path only the last part. The hashes of plug-ins stand beside it, in the source. */
function publicName(name: string): string {
  if (!localPath.test(name)) return name;
  return name.split(/[\\/]/).filter(Boolean).at(-1) ?? name;
}

function publicRecipe(recipe: CompressionReport['recipe']): ReportTable {
  const table = recipeTable(recipe);
  return { ...table, rows: table.rows.map(([setting = '', value = '']) => [setting, publicName(cellText(value))]) };
}

/**
 * README.md of a compressed checkpoint: what it is, how it was made, what it measured beside its base, how to load it.
 * Of paths of the machine that made it only the last part is shown.
 */
export function modelCard(report: CompressionReport): string {
  const layout = layoutKind(report.resultShape);
  const name = escapeMarkdown(publicName(report.model.name));
  const { headDim } = report.resultShape;
  const wide = headDim === report.model.shape.headDim ? '' : ` of ${headDim}`;
  const heads = `${describeLayout(report.model.shape)} to ${describeLayout(report.resultShape)} KV heads${wide}`;
  const change = layout === 'stock' || layout === 'per-layer heads' ? heads : `${layout} in the KV cache`;
  const licence = report.model.licence
    ? `The weights are derived from ${name} and stay under its licence: ${escapeMarkdown(report.model.licence)}.`
    : `The weights are derived from ${name} and stay under its licence, which this card does not know: ask the base model's page.`;
  const quality = qualityTable(report);
  const parts = [
    frontMatter(report, layout === 'stock'),
    `# ${name}: ${change}`,
    `${name} with a smaller KV cache, made by kvlr. Every tensor outside the attention projections is the base model's.`,
    `- Base: ${escapeMarkdown(describeShape(report.model.shape))}\n- This: ${escapeMarkdown(describeShape(report.resultShape))}`,
    `## What it cost and what it saves\n\n${markdownReportTable(headlineTable(report))}`,
    escapeMarkdown(`${describeEvaluation(report.result)} ${describeCacheElement(report.result.cache.bytesPerElement)}`),
    ...(quality ? [markdownSection(quality)] : []),
    ...(report.notes ?? []).map((note) => `> ${escapeMarkdown(note)}`),
    `## How to load it\n\n${loading(layout)}`,
    `## How it was made\n\n${markdownReportTable(publicRecipe(report.recipe))}`,
    `## Licence\n\n${licence}`,
  ];
  return `${parts.join('\n\n')}\n`;
}
