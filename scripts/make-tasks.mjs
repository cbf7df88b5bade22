// Writes the data of the embedded tasks (packages/reference-model/tasks) from the validation text, which neither the embedded model nor
// any calibration saw. Same text, same tasks: `node scripts/make-tasks.mjs`.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './run-step.mjs';

const items = 640;
const model = join(root, 'packages', 'reference-model');
const documents = readFileSync(join(model, 'texts', 'validation.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line))
  .map(({ source, text }, document) => ({ source, document, words: text.split(/\s+/).filter((word) => word !== '') }));

/** Uniform numbers in [0, 1): mulberry32 (Tommy Ettinger, public domain). */
function createRandom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function shuffled(list, random) {
  const copy = [...list];
  for (let last = copy.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [copy[last], copy[other]] = [copy[other], copy[last]];
  }
  return copy;
}

const joined = (words) => words.join(' ');
const endsSentence = (word) => /[.!?]["')\]]*$/.test(word);
const endsClause = (word) => /[.,;:!?]["')\]]*$/.test(word);
const plain = (word) => word.replace(/^[^A-Za-z]+|[^A-Za-z]+$/g, '');

/** Places behind such words, in all documents, in random order. */
function placesBehind(ends, random) {
  const places = documents.flatMap(({ source, document, words }) =>
    words.flatMap((_, place) => (place > 0 && ends(words[place - 1]) ? [{ source, document, place, words }] : [])),
  );
  return shuffled(places, random);
}

/** As many items as asked for, from places behind such words in random order, each so many words from any other. */
function collect(random, ends, apart, make) {
  const taken = [];
  const rows = [];
  for (const start of placesBehind(ends, random)) {
    if (rows.length === items) break;
    const near = taken.some(
      (other) => other.document === start.document && Math.abs(other.place - start.place) < apart,
    );
    const row = near ? undefined : make(start);
    if (row === undefined) continue;
    taken.push(start);
    rows.push({ source: start.source, ...row });
  }
  if (rows.length < items) throw new Error(`expected ${items} items, found ${rows.length}`);
  return rows;
}

/** The last word of a clause that stood before, at least 12 words back; it has four letters or more. */
function cloze(random) {
  return collect(random, endsClause, 20, ({ place, words }) => {
    const last = plain(words[place - 1]);
    const from = Math.max(0, place - 100);
    const before = words.slice(from, place - 1);
    const known = before.slice(0, -12).some((word) => plain(word) === last);
    if (last.length < 4 || last.toLowerCase() !== last || before.length < 90 || !known) return undefined;
    return { text: `${joined(before)} ${last}` };
  });
}

const choiceWords = 8;

/** Which of four pieces of equal length goes on in the middle of a clause: the true one, and three from elsewhere in the document. */
function continuation(random) {
  const inClause = (word) => !endsClause(word);
  return collect(random, inClause, 60, ({ place, words }) => {
    const piece = (start) => joined(words.slice(start, start + choiceWords));
    if (place < 40 || place + choiceWords > words.length) return undefined;
    const others = [...words.keys()].filter(
      (start) =>
        Math.abs(start - place) > 60 && start + choiceWords <= words.length && start > 0 && inClause(words[start - 1]),
    );
    if (others.length < 3) return undefined;
    const choices = [place, ...shuffled(others, random).slice(0, 3)];
    const order = shuffled([0, 1, 2, 3], random);
    return {
      context: joined(words.slice(place - 40, place)),
      choices: order.map((choice) => piece(choices[choice])),
      label: order.indexOf(0),
    };
  });
}

const cueWords = 6;
const answerWords = 1;

/** A passage, the first words of one of its sentences again, and the word that followed them: far back for some, near for others. */
function copy(random) {
  const distances = [30, 60, 120, 240];
  return collect(random, endsSentence, 60, ({ place, words }) => {
    const distance = distances[Math.floor(random() * distances.length)];
    const end = place + cueWords + answerWords + distance;
    if (place < 10 || end > words.length) return undefined;
    const answer = joined(words.slice(place + cueWords, place + cueWords + answerWords));
    const cue = joined(words.slice(place, place + cueWords));
    const passage = joined(words.slice(place - 10, end));
    if (passage.indexOf(cue) !== passage.lastIndexOf(cue)) return undefined;
    return { passage, distance, cue, answer };
  });
}

for (const [seed, [name, make]] of Object.entries({ cloze, continuation, copy }).entries()) {
  const rows = make(createRandom(seed + 1));
  const path = join(model, 'tasks', `${name}.jsonl`);
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  console.log(`${path}: ${rows.length} items`);
}
