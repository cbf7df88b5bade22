import { expectKvlrError } from '@kvlr/testkit';
import { expect, it } from 'vitest';
import { evaluateTemplate, renderTemplate } from './templates.ts';

const document = {
  text: 'far and near',
  choices: { text: ['x', 'y'], label: ['A', 'B'] },
  answerKey: ' B',
  subject: 'world_religions',
  sentence: 'Ann saw _ there.',
  count: 3,
};

it.each([
  ["{{text.split(' ')[:-1]|join(' ')}}", 'far and'],
  ["{{' '+text.split(' ')[-1]}}", ' near'],
  ['{{choices.label.index(answerKey.lstrip())}}', '1'],
  ["{{subject|replace('_', ' ')}}", 'world religions'],
  ["{{sentence[sentence.index('_') + 1:].strip()}}", 'there.'],
  ['{{count}} of {{choices.text[0]}}\n', '3 of x\n'],
  ['{% for one in choices.text %}{{one}}\n{% endfor %}', 'x\ny\n'],
  ['no template', 'no template'],
])('renders %j as the harness does', (template, text) => {
  expect(renderTemplate(template, document)).toBe(text);
});

it('gives the value of an expression as it is', () => {
  expect(evaluateTemplate('{{[text, subject]}}', document)).toEqual(['far and near', 'world_religions']);
  expect(evaluateTemplate('{{choices.text}}', document)).toEqual(['x', 'y']);
  expect(evaluateTemplate('{{count}} things', document)).toBe('3 things');
});

it.each([
  ['{{missing}}', /no column missing/],
  ['{{choices.label.index("C")}}', /"C" is not in \["A","B"\]/],
  ['{{text', /got: /],
])('refuses %j', (template, message) => {
  expectKvlrError(() => renderTemplate(template, document), 'file-malformed', message);
});
