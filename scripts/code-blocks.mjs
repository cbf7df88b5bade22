// The JavaScript and TypeScript of the documents: every fenced block, with its place.
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { root } from './run-step.mjs';

const SKIPPED = new Set(['node_modules', 'dist', 'api', 'oracles', '.git', '.vitepress']);

/** Paths of the documents, below the root. */
export function documents(folder = root) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return SKIPPED.has(entry.name) || entry.name.endsWith('.run') ? [] : documents(path);
    return entry.name.endsWith('.md') ? [relative(root, path)] : [];
  });
}

/**
 * Blocks as { document, line, language, code, ownFrom }: modules that stand for themselves. A block whose fence says `continued` has
 * the one before it in front; `ownFrom` is the number of those lines.
 */
export function codeBlocks() {
  return documents().flatMap((document) => {
    const blocks = [];
    const text = readFileSync(join(root, document), 'utf8');
    for (const [before, language, words, code] of text.matchAll(
      /^```(js|ts|javascript|typescript|mjs)\b(.*)\n([\s\S]*?)^```$/gm,
    )) {
      const earlier = words.includes('continued') ? blocks.at(-1).code : '';
      const line = text.slice(0, text.indexOf(before)).split('\n').length + 1;
      blocks.push({ document, line, language, code: earlier + code, ownFrom: earlier.split('\n').length - 1 });
    }
    return blocks;
  });
}
