import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { buildPrompts } from '../prompts/prompts.ts';
import { loadDocuments } from './load-documents.ts';
import { listTasks, openTasks } from './open-tasks.ts';

describe('the tasks that come with kvlr', () => {
  it('are all read', async () => {
    const { tasks, groups } = await openTasks(await listTasks());
    expect(groups.map(({ fields, tasks: members }) => [fields.group, members.length])).toEqual([['mmlu', 57]]);
    expect(tasks).toHaveLength(70);
    expect(tasks.every(({ fields }) => fields.metadata?.version !== undefined)).toBe(true);
  });

  it.each([
    ['kvlr_cloze', 640, 'continuations'],
    ['kvlr_continuation', 640, 'continuations'],
    ['kvlr_copy', 640, 'generation'],
    ['kvlr_texts_rolling', 69, 'rolling'],
  ])('%s asks about %i documents', async (name, count, type) => {
    const [definition] = (await openTasks([name])).tasks;
    const { documents, exampleDocuments } = await loadDocuments(definition!, false);
    const prompts = buildPrompts({ fields: definition!.fields, documents, exampleDocuments });
    expect(prompts.map(({ question }) => question.type)).toEqual(Array(count).fill(type));
  });

  it.each([
    [
      'arc_easy',
      { question: 'Why?', choices: { text: ['x', 'y'], label: ['A', 'B'] }, answerKey: 'B' },
      'Question: Why?\nAnswer:',
      ' x',
    ],
    ['piqa', { goal: 'Go', sol1: 'left', sol2: 'right', label: 1 }, 'Question: Go\nAnswer:', ' left'],
    [
      'openbookqa',
      { question_stem: 'Sun is', choices: { text: ['hot', 'wet'], label: ['A', 'B'] }, answerKey: ' B' },
      'Sun is',
      ' hot',
    ],
    ['boolq', { passage: 'P.', question: 'is it', label: 1 }, 'P.\nQuestion: is it?\nAnswer:', ' no'],
    ['winogrande', { sentence: 'A saw B; _ ran.', option1: 'A', option2: 'B', answer: '2' }, 'A saw B; A', ' ran.'],
    ['lambada_openai', { text: 'one two three' }, 'one two', ' three'],
    ['hellaswag', { query: 'Act: he', choices: ['runs', 'sits'], label: '1' }, 'Act: he', ' runs'],
    [
      'mmlu',
      { question: ' Q? ', choices: ['1', '2', '3', '4'], answer: 3, subject: 'world_religions' },
      'The following are multiple choice questions (with answers) about world religions.\n\nQ?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:',
      ' A',
    ],
  ])('%s asks as the harness does', async (name, document, context, continuation) => {
    const [definition] = (await openTasks([name])).tasks;
    const [prompt] = buildPrompts({
      fields: definition!.fields,
      documents: [document],
      exampleDocuments: [],
      numFewshot: 0,
    });
    expect(prompt!.question).toMatchObject({ texts: expect.arrayContaining([{ context, continuation }]) });
  });

  it('say which there are for a name that there is not', async () => {
    await expectKvlrError(() => openTasks(['piqqa']), 'usage', /arc_challenge, .*piqa, winogrande, got "piqqa"/);
  });
});
