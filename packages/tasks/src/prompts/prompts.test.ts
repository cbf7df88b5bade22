import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { taskFieldsSchema } from '../definition/task-fields.ts';
import { taskYaml } from '../testing/scripted-model.ts';
import { buildPrompts } from './prompts.ts';

const fieldsOf = (yaml: string) => taskFieldsSchema.parse(parse(taskYaml(yaml)));
const documents = ['one', 'two', 'three'].map((q, label) => ({ q, options: ['no', 'yes', 'maybe'], label }));

describe('prompts', () => {
  it('put description, examples and question together as the harness does', () => {
    const fields = fieldsOf(`
output_type: multiple_choice
description: "About {{q}}.\\n\\n"
doc_to_text: "Q: {{q}}\\nA:"
doc_to_choice: options
doc_to_target: label
fewshot_config: { sampler: first_n }
fewshot_split: dev
num_fewshot: 2`);
    const [first] = buildPrompts({ fields, documents: documents.slice(2), exampleDocuments: documents });
    const context = 'About three.\n\nQ: one\nA: no\n\nQ: two\nA: yes\n\nQ: three\nA:';
    expect(first).toMatchObject({
      target: 2,
      gold: [2],
      choices: ['no', 'yes', 'maybe'],
      question: {
        texts: [' no', ' yes', ' maybe'].map((continuation) => ({ context, continuation })),
      },
    });
  });

  it('ask a question for each choice where the question is a number', () => {
    const fields = fieldsOf(`
output_type: multiple_choice
doc_to_text: "{{['1', '2'].index(answer)}}"
doc_to_choice: "{{[sentence[:sentence.index('_')] + a, sentence[:sentence.index('_')] + b]}}"
doc_to_target: "{{sentence[sentence.index('_') + 1:].strip()}}"`);
    const document = { sentence: 'The cup fits the box as _ is small.', a: 'the cup', b: 'the box', answer: '1' };
    const [prompt] = buildPrompts({ fields, documents: [document], exampleDocuments: [] });
    expect(prompt).toMatchObject({
      gold: [0],
      question: {
        texts: [
          { context: 'The cup fits the box as the cup', continuation: ' is small.' },
          { context: 'The cup fits the box as the box', continuation: ' is small.' },
        ],
      },
    });
  });

  it('never show a document its own answer', () => {
    const fields = fieldsOf(
      'output_type: loglikelihood\ndoc_to_text: "{{q}}"\ndoc_to_target: " {{label}}"\nfewshot_split: test',
    );
    const prompts = buildPrompts({ fields, documents, exampleDocuments: documents, numFewshot: 2 });
    for (const [place, { question }] of prompts.entries()) {
      const context = question.type === 'continuations' ? question.texts[0]!.context : '';
      expect(context.split('\n\n').map((line) => line.split(' ')[0])).toHaveLength(3);
      expect(context.split(documents[place]!.q)).toHaveLength(2);
    }
    const tooMany = () => buildPrompts({ fields, documents, exampleDocuments: documents, numFewshot: 3 });
    expectKvlrError(tooMany, 'text-too-short', /at least 4 documents/);
  });

  it.each([
    ['limit', 0],
    ['limit', Number.NaN],
    ['numFewshot', -1],
    ['numFewshot', 1.5],
  ])('refuse %s = %s', (argument, value) => {
    const build = () =>
      buildPrompts({ fields: fieldsOf('doc_to_target: a'), documents, exampleDocuments: [], [argument]: value });
    expectKvlrError(build, 'invalid-argument', String(value));
  });

  it('refuse a document whose column has no text', () => {
    const odd = [{ q: { toString: 1 }, label: 0, options: [] }];
    const fields = fieldsOf('doc_to_text: q\ndoc_to_target: label');
    const build = () => buildPrompts({ fields, documents: odd, exampleDocuments: [] });
    expectKvlrError(build, 'file-malformed', /in document 1/);
  });

  it('refuse a target that is no choice', () => {
    const fields = fieldsOf(
      'output_type: multiple_choice\ndoc_to_text: q\ndoc_to_choice: options\ndoc_to_target: "{{7}}"',
    );
    const build = () => buildPrompts({ fields, documents, exampleDocuments: [] });
    expectKvlrError(build, 'file-malformed', /among 3 choices, got 7/);
  });
});
