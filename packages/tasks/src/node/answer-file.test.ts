import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import type { TaskAnswer } from '../scoring/metrics.ts';
import { openAnswerFile } from './answer-file.ts';

const folder = await mkdtemp(join(tmpdir(), 'kvlr-answers-'));
afterAll(() => rm(folder, { recursive: true }));

it('keeps answers over a kill, but for the one that was being written', async () => {
  const path = join(folder, 'deep', 'answers.jsonl');
  const answer: TaskAnswer = { type: 'scores', scores: [{ logLikelihood: -1.5, isGreedy: true }] };
  const first = await openAnswerFile(path);
  await first.put('a', answer);
  await first.close();
  await appendFile(path, '["b",{"type":"te');

  const second = await openAnswerFile(path);
  expect([second.known, second.get('a'), second.get('b')]).toEqual([1, answer, undefined]);
  await second.put('b', { type: 'text', text: 'whole' });
  await second.close();
  const third = await openAnswerFile(path);
  expect([third.known, third.get('b')]).toEqual([2, { type: 'text', text: 'whole' }]);
  await third.close();
  expect(await readFile(path, 'utf8')).toContain('\n["b",{"type":"text"');
});
