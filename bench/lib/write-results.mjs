import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Writes PATH.json and PATH.md, and prints the Markdown. The command that was run is kept in both. */
export async function writeResults(path, report, toMarkdown) {
  const command = ['node', `bench/${process.argv[1].split('/bench/').pop()}`, ...process.argv.slice(2)].join(' ');
  const dated = { ...report, notes: [...report.notes, `Command: ${command}`] };
  const markdown = toMarkdown(dated);
  console.log(markdown);
  if (path === undefined) return;
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.json`, `${JSON.stringify(dated, undefined, 2)}\n`);
  await writeFile(`${path}.md`, markdown);
  console.error(`Wrote ${path}.json and ${path}.md`);
}
