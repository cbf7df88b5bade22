import { join } from 'node:path';
import { type AnswerFile, openAnswerFile } from '@kvlr/tasks/node';
import type { CommandContext } from '../terminal/terminal.ts';

/** Answers of an earlier run with the same output directory, which is made where there is none; says how many there are. */
export async function openKeptAnswers(output: string, { onEvent }: CommandContext): Promise<AnswerFile> {
  const answers = await openAnswerFile(join(output, 'answers.jsonl'));
  if (answers.known > 0) onEvent({ type: 'note', message: `${answers.known} answers are there from an earlier run.` });
  return answers;
}
