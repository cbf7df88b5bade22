// Holds what kvlr answered against what the harness answered, item by item: node compare.mjs KVLR_RESULTS HARNESS.jsonl. The first is a
// model's folder below `kvlr eval --tasks ... -o`, the second comes from harness.py. Prints a table; exits with 1 where they differ by
// more than rounding.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const [results, harnessFile] = process.argv.slice(2);
const readLines = (path) =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

/** Log-likelihoods closer than this to each other may change their order by rounding. */
const nearTie = 0.01;
const tolerance = 2e-3;

const byTask = groupByTask(readLines(harnessFile));

function groupByTask(rows) {
  const groups = new Map();
  for (const row of rows) groups.set(row.task, [...(groups.get(row.task) ?? []), row]);
  return groups;
}

const likelihoods = (responses) => responses.map((one) => (Array.isArray(one) ? one[0] : one));
const firstChoice = (values) => values.indexOf(Math.max(...values));

let wrong = 0;
const lines = [];
for (const [task, rows] of byTask) {
  const file = join(results, `samples_${task}.jsonl`);
  if (!existsSync(file)) {
    lines.push(`${task}: kvlr was not asked it`);
    continue;
  }
  const own = new Map(readLines(file).map((sample) => [sample.doc_id, sample]));
  const count = { items: 0, hashes: 0, decisions: 0, largest: 0 };
  const ties = [];
  for (const row of rows) {
    const sample = own.get(row.doc_id);
    if (sample === undefined) continue;
    count.items++;
    const same = ['doc_hash', 'prompt_hash', 'target_hash'].every((name) => sample[name] === row[name]);
    count.hashes += Number(same);
    const responses = sample.resps.map(([response]) => response);
    if (typeof row.resps[0] === 'string') {
      count.decisions += Number(responses[0] === row.resps[0]);
      if (responses[0] !== row.resps[0]) ties.push(`${row.doc_id} (another text)`);
      continue;
    }
    // The harness gives one number for a whole text; kvlr one a window.
    const mine = task.endsWith('rolling')
      ? [likelihoods(responses).reduce((sum, one) => sum + one, 0)]
      : likelihoods(responses);
    const theirs = likelihoods(row.resps);
    const scale = task.endsWith('rolling') ? Math.abs(theirs[0]) / 100 : 1;
    count.largest = Math.max(count.largest, ...mine.map((one, place) => Math.abs(one - theirs[place]) / scale));
    const greedy = responses.every((one, place) => !Array.isArray(row.resps[place]) || one[1] === row.resps[place][1]);
    count.decisions += Number(greedy && firstChoice(mine) === firstChoice(theirs));
    const [best, second] = [...theirs].sort((a, b) => b - a);
    if (second !== undefined && best - second < nearTie) ties.push(`${row.doc_id} (${(best - second).toFixed(4)})`);
  }
  if (count.largest > tolerance || count.hashes < count.items) wrong++;
  lines.push(
    `| ${task} | ${count.items} | ${count.hashes} | ${count.decisions} | ${count.largest.toExponential(1)} | ${ties.join(', ') || 'none'} |`,
  );
}
console.log('| task | items | equal hashes | equal decisions | largest difference | near-ties, or other texts |');
console.log('| --- | ---: | ---: | ---: | ---: | --- |');
console.log(lines.join('\n'));
process.exitCode = wrong === 0 ? 0 : 1;
